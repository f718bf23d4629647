"""Options of records: declared once, and the same on the command line, in Python and in what help() shows."""

from __future__ import annotations

import ast
import importlib
import inspect
import math
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from configuring import GROUP

import edgepress.toolkit as toolkit
from edgepress.converters.options.conversion import ConversionOptions
from edgepress.converters.options.records import RECORDS, changed_words, is_record, settings_of, signature_of
from edgepress.toolkit.cli.main import main
from edgepress.toolkit.data.options import DataOptions
from edgepress.toolkit.data.reading import Reading
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.improvement.improving import improve
from edgepress.toolkit.improvement.improving.options import ImproveOptions
from edgepress.toolkit.measurement.benchmarking.options import BenchmarkOptions
from edgepress.toolkit.search.compression import compress
from edgepress.toolkit.search.compression.options import CompressOptions
from edgepress.toolkit.shipping.boards import bench, fleet, push
from edgepress.toolkit.shipping.boards.options import BoardBenchOptions, InstallOptions
from edgepress.toolkit.training.graphs.options import PruneOptions, TuneOptions
from edgepress.toolkit.training.options import TrainingOptions

ROOT = Path(__file__).parents[2]
SOURCES = [path for room in ("toolkit", "converters", "runtime") for path in sorted((ROOT / room).rglob("*.py"))]
DECLARED = sorted({name for options in RECORDS.values() for name in settings_of(options)})
VERBS = [name for name in toolkit.__all__ if name in GROUP.commands]


def declarations(name: str) -> Iterator[str]:
    """Where a record, or a parameter, has a name and either a default or a help of its own."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
                if node.value is not None:
                    yield str(path.relative_to(ROOT))
            elif isinstance(node, ast.arguments):
                named = [each.arg for each in (*node.posonlyargs, *node.args)]
                with_default = {*named[len(named) - len(node.defaults) :]}
                with_default |= {a.arg for a, d in zip(node.kwonlyargs, node.kw_defaults, strict=True) if d}
                if name in with_default:
                    yield str(path.relative_to(ROOT))


def test_how_data_are_read_is_declared_once() -> None:
    for name in settings_of(Reading):
        assert [*declarations(name)] == ["toolkit/data/reading.py"]


def test_commands_declare_no_option_of_a_record() -> None:
    held: dict[str, set[str]] = {}
    for name in VERBS:
        module = importlib.import_module(f"edgepress.toolkit.cli.{name}")
        if hasattr(module, "app"):
            continue
        command = inspect.unwrap(getattr(module, name))
        own = inspect.signature(command, eval_str=True).parameters
        records = [kind for p in own.values() for kind in (p.annotation, *get_args(p.annotation)) if is_record(kind)]
        held[name] = {field for each in records for field in settings_of(each)}
        assert not held[name] & {*own}, name
    assert held["benchmark"] == {*settings_of(BenchmarkOptions)}
    assert held["convert"] == {*settings_of(ConversionOptions), *settings_of(Reading)}
    assert held["train"] == {*settings_of(DataOptions), *settings_of(TrainingOptions)}
    assert held["tune"] == {*settings_of(TuneOptions)}
    assert held["prune"] == {*settings_of(PruneOptions)}
    assert held["improve"] == {*settings_of(ImproveOptions)}
    assert held["compress"] == {*settings_of(CompressOptions)}


@pytest.mark.parametrize(
    ("command", "record"), [("bench", BoardBenchOptions), ("push", InstallOptions), ("fleet", InstallOptions)]
)
def test_commands_of_board_have_the_options_of_their_record(command: str, record: Any) -> None:
    options = {each.name: each for each in GROUP.commands["board"].commands[command].params}
    for name, (_, _, setting) in settings_of(record).items():
        assert options[name].help == setting.help


@pytest.mark.parametrize(
    ("function", "record"),
    [
        (improve.improve, ImproveOptions),
        (compress.compress, CompressOptions),
        (bench.board_bench, BoardBenchOptions),
        (push.push, InstallOptions),
        (fleet.fleet, InstallOptions),
    ],
    ids=lambda each: each.__name__,
)
def test_functions_declare_no_option_of_their_record(function: Any, record: Any) -> None:
    """An option is a field of the record, and no parameter of a function on the way to what uses it."""
    own = {*inspect.signature(inspect.unwrap(function)).parameters}
    assert not own & {*settings_of(record)}
    assert {*settings_of(record)} <= {*signature_of(inspect.unwrap(function)).parameters}


DECLARED_AT = {
    "max_ram": ["toolkit/search/compression/options.py"],
    "keep_float": ["converters/options/conversion.py"],
    "timing_s": ["toolkit/measurement/benchmarking/options.py"],
}


@pytest.mark.parametrize("name", DECLARED_AT)
def test_an_option_of_one_command_is_declared_in_one_place(name: str) -> None:
    places = [path for path in declarations(name) if not path.endswith("compression/trial.py")]  # `Limits.of` parses
    assert places == DECLARED_AT[name]


def test_threads_of_a_board_are_numbers_in_order() -> None:
    assert BoardBenchOptions(threads=[4, 1, 4]).threads == (1, 4)
    for wrong in ([], [0], [2, -1]):
        with pytest.raises(InputError, match="at least one number, each 1 or more"):
            BoardBenchOptions(threads=wrong)


def test_limits_of_a_search_are_numbers_with_units() -> None:
    options = CompressOptions(max_drop=1.5, max_size="2kB", max_latency=3, max_flash="4kB")
    assert options.limits.values == {"drop": 1.5, "size": 2000, "latency": 3000, "flash": 4000}
    assert (options.rule.confidence, options.rule.prefer) == (0.9, "balanced")
    with pytest.raises(InputError, match="max-memory"):
        _ = CompressOptions(max_memory="much").limits


def test_the_help_of_an_option_of_a_record_is_written_once() -> None:
    """No option of a command has its words: other commands with the option take the `Setting`."""
    helps = {setting.help for each in RECORDS.values() for _, _, setting in settings_of(each).values()}
    written = [
        word.value.value
        for path in (ROOT / "toolkit" / "cli").rglob("*.py")
        for word in ast.walk(ast.parse(path.read_text()))
        if isinstance(word, ast.keyword) and word.arg == "help" and isinstance(word.value, ast.Constant)
    ]
    assert len(written) > 100
    assert helps & {*written} == set()


@pytest.mark.parametrize("arguments", [a for a, r in RECORDS.items() if a is not r], ids=lambda each: each.__name__)
def test_arguments_for_type_checkers_are_those_of_the_record(arguments: Any) -> None:
    named = {name: str(kind) for name, kind in get_type_hints(arguments).items()}
    assert named == {name: str(kind) for name, (_, kind, _) in settings_of(RECORDS[arguments]).items()}
    assert not arguments.__required_keys__


@pytest.mark.parametrize("options", RECORDS.values(), ids=lambda each: each.__name__)
def test_a_record_is_frozen_and_needs_nothing(options: Any) -> None:
    assert options.__dataclass_params__.frozen
    made = options()
    for name, (field, _, setting) in settings_of(options).items():
        assert getattr(made, name) == field.default
        assert setting.help
        assert not setting.help.endswith(".")
        assert f"{name}: {setting.sentences}"[:60] in options.__doc__


@pytest.mark.parametrize(
    "name", [name for name in VERBS if "skip_unreadable" in signature_of(getattr(toolkit, name)).parameters]
)
def test_help_shows_names_types_and_what_they_mean(name: str) -> None:
    function = getattr(toolkit, name)
    shown = inspect.signature(function).parameters["skip_unreadable"]
    assert (shown.annotation, shown.default, shown.kind) == (bool, False, shown.KEYWORD_ONLY)
    assert "reading" not in inspect.signature(function).parameters
    assert inspect.getdoc(function).count("skip_unreadable: Skip items that can't be read, and list them.") == 1
    option = next(p for p in GROUP.commands[name].params if p.name == "skip_unreadable")
    assert (option.help, option.default) == ("Skip items that can't be read, and list them", False)


def test_most_commands_that_read_data_have_the_record() -> None:
    having = [n for n in VERBS if "skip_unreadable" in {p.name for p in GROUP.commands[n].params}]
    assert len(having) >= 14


def test_a_wrong_value_of_a_record_is_named() -> None:
    with pytest.raises(TypeError, match=r"evaluate\(\): skip_unreadable is 'yes' \(str\); accepted: True or False"):
        toolkit.evaluate("a.tflite", skip_unreadable="yes")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Did you mean 'skip_unreadable'"):
        toolkit.evaluate("a.tflite", skip_unreadables=True)  # type: ignore[call-arg]


RANGES = [
    (options, name)
    for options in RECORDS.values()
    for name, (_, _, setting) in settings_of(options).items()
    if setting.min is not None or setting.max is not None
]


@pytest.mark.parametrize(("options", "name"), RANGES, ids=lambda each: getattr(each, "__name__", each))
def test_python_refuses_what_the_command_line_refuses(options: Any, name: str) -> None:
    _, _, setting = settings_of(options)[name]
    for end, wrong in ((setting.min, -0.5), (setting.max, 0.5)):
        if end is None:
            continue
        assert getattr(options(**{name: end}), name) == end
        for value in (end + wrong, end + 3 * wrong, float("nan")):
            with pytest.raises(InputError, match=f"{name} is .*{end:g}"):
                options(**{name: value})


ENDS = [
    (options, name, end)
    for options in RECORDS.values()
    for name, (_, _, setting) in settings_of(options).items()
    for end in (setting.above, setting.below)
    if end is not None
]


@pytest.mark.parametrize(("options", "name", "end"), ENDS, ids=lambda each: getattr(each, "__name__", each))
def test_an_end_that_no_number_may_reach_is_refused(options: Any, name: str, end: float) -> None:
    accepted = "finite" if math.isinf(end) else f"{end:g}"
    for wrong in (end, float("nan")):
        with pytest.raises(InputError, match=f"{name} is .*; accepted: .*{accepted}"):
            options(**{name: wrong})
    assert getattr(options(**{name: 0.5}), name) == 0.5


def test_options_of_a_training_that_exclude_each_other_are_refused() -> None:
    for options in (TrainingOptions, TuneOptions, PruneOptions):
        with pytest.raises(InputError, match="resume and overwrite exclude each other"):
            options(resume=True, overwrite=True)


def test_a_run_records_what_runs_of_before_recorded() -> None:
    """Otherwise these could not be resumed: minutes and continued are recorded only if they are given."""
    names = (
        "epochs batch_size learning_rate patience class_weights augmentation width depth dropout freeze seed teacher"
    )
    usual = TrainingOptions()
    assert {*usual.recorded} == {*names.split()}
    assert usual.recorded["patience"] == 15
    assert TrainingOptions(patience=0).recorded == TrainingOptions(patience=None).recorded
    assert TrainingOptions(minutes=2.0, continued=True).recorded == {
        **usual.recorded,
        "minutes": 2.0,
        "continued": True,
    }
    tuned = {"minutes": 10.0, "steps": None, "seed": 0, "augmentation": "auto", "bits": 4}
    assert TuneOptions(bits=4).recorded == tuned
    targets = {"macs": 0.5, "size_bytes": 1000, "latency_ms": 2.0, "importance": "auto"}
    pruned = PruneOptions(macs="50%", max_size="1kB", max_latency="2ms")
    assert pruned.recorded == {name: tuned[name] for name in tuned if name != "bits"} | targets


def test_ends_are_said_in_words() -> None:
    with pytest.raises(InputError, match="minutes is 0; accepted: above 0 and below 100000"):
        TrainingOptions(minutes=0)


OTHER = {"calibration": "mse", "target": "integer-only", "keep_float": "conv1|head"}


@pytest.mark.parametrize("name", settings_of(ConversionOptions))
def test_a_changed_option_means_the_same_in_the_next_command(name: str) -> None:
    """What the words of a record say, the command line reads back, in drawn order with others."""
    usual = getattr(ConversionOptions(), name)
    value = OTHER.get(name, not usual if isinstance(usual, bool) else 7)
    words = changed_words(ConversionOptions(**{name: value}))
    context = GROUP.commands["convert"].make_context("convert", ["m.keras", *words])
    assert (context.params[name], context.get_parameter_source(name).name) == (value, "COMMANDLINE")
    others = [other for other in settings_of(ConversionOptions) if other != name]
    assert all(context.params[other] == getattr(ConversionOptions(), other) for other in others)


def test_nothing_is_said_of_usual_options_and_only_of_the_record_that_is_asked_for() -> None:
    assert changed_words(ConversionOptions()) == []
    options = BenchmarkOptions(rounds=3, skip_unreadable=True)
    assert (options.words, changed_words(options)) == (
        ["--skip-unreadable"],
        ["--rounds", "3", "--skip-unreadable"],
    )
    assert changed_words(BenchmarkOptions(threads=(1, 4))) == ["--threads", "1,4"]


def test_a_calibration_is_named_in_any_case() -> None:
    assert ConversionOptions(calibration="MSE").calibration == "mse"  # type: ignore[arg-type]


def test_some_record_has_a_range() -> None:
    assert {name for _, name in RANGES} >= {"rounds", "time_cap", "max_drop"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("improve", "runs", "--new", "more", "--learning-rate", "0"), "--learning-rate is 0; accepted: above 0"),
        (
            ("improve", "runs", "--new", "more", "--max-drop", "100"),
            "--max-drop is 100; accepted: at least 0",
        ),
        (("train", "--data", "digits", "--learning-rate", "nan"), "--learning-rate is nan; accepted: above 0"),
        (("board", "bench", "pi", "files", "--threads", "2,0"), "--threads is 2, 0; accepted: at least one number"),
    ],
)
def test_the_command_line_names_an_option_as_it_is_written_there(words: Any, said: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*words])
    assert caught.value.code not in (0, None)
    assert said in " ".join(capsys.readouterr().err.split())


def test_an_error_about_an_option_is_the_same_behind_a_process() -> None:
    with pytest.raises(InputError) as caught:
        ImproveOptions(learning_rate=0)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
