"""Files of edgepress's own kinds that a stranger replaced: one error each, within the limits on memory and time."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from configuring import apart  # noqa: F401 - a fixture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sweeping import made_up_sweep
from test_compress_report import document as compress_document
from test_store_checks import ANYTHING, changed, places

from edgepress.converters.files import sha256_of
from edgepress.toolkit.cli import settings_paths
from edgepress.toolkit.data.readers import shards
from edgepress.toolkit.documents import (
    DEEPEST,
    MAX_BYTES,
    MOST_PARTS,
    parse_json,
    parse_toml,
    read_limited,
    with_halves_as_words,
)
from edgepress.toolkit.errors import EdgepressError, InputError
from edgepress.toolkit.reports.report import compress_search_of, report
from edgepress.toolkit.results.file import load_benchmark
from edgepress.toolkit.search.compression import report as earlier
from edgepress.toolkit.search.sweeping import plan
from edgepress.toolkit.search.sweeping.result import load_sweep
from edgepress.toolkit.training import run_folder
from edgepress.toolkit.training.graphs.job import read_plan as read_pruning
from edgepress.toolkit.training.graphs.job import read_ranges
from edgepress.toolkit.training.graphs.options import GraphOptions
from edgepress.toolkit.training.graphs.run import Run, finished_run


def history_of(file: Path) -> Any:
    """Read the table of a run whose metrics are sound."""
    file.with_name("metrics.json").write_text('{"began_with": {}}')
    return run_folder.load_result(file.parent)


def report_of(file: Path) -> Any:
    """Read the report of a finished run."""
    file.with_name("net.tflite").touch()
    target = file.with_name("net.tflite")
    options = GraphOptions(resume=True)
    run = Run(
        verb="", report=file.name, scratch=(), options=options, data=None, hints=None, on_note=None, on_progress=None
    )
    return finished_run(target, run, {})


READERS: dict[str, Callable[[Path], Any]] = {
    "benchmark.json": load_benchmark,
    "sweep.json": load_sweep,
    "plan.toml": plan.read_plan,
    "compress.json": lambda file: compress_search_of(file.parent),
    "classes.txt": shards._class_names,
    "metrics.json": lambda file: run_folder.load_result(file.parent),
    "history.csv": history_of,
    "plan.json": read_pruning,
    "tuning.json": report_of,
    "start.json": read_ranges,
}
"""What reads files back, by their names."""
DAMAGE: dict[str, Callable[[Path], Any]] = {
    "empty": lambda file: file.touch(),
    "huge": lambda file: (file.touch(), os.truncate(file, 10**12)),
    "larger than all limits": lambda file: (file.touch(), os.truncate(file, MAX_BYTES + 1)),
    "deep": lambda file: file.write_text('{"a": ' + "[" * 200_000 + "]" * 200_000 + "}"),
    "deep enough for what reads it": lambda file: file.write_text('{"a": ' + "[" * 500 + "]" * 500 + "}"),
    "many parts": lambda file: file.write_text('{"a": [' + "[]," * MOST_PARTS + "[]]}"),
    "a list": lambda file: file.write_text("[]"),
    "a huge number": lambda file: file.write_text('{"schema_version": ' + "9" * 100_000 + "}"),
    "not a number": lambda file: file.write_text('{"schema_version": NaN}'),
    "no text": lambda file: file.write_bytes(bytes(range(128, 256)) * 10),
    "a folder": lambda file: file.mkdir(),
    "a link to itself": lambda file: file.symlink_to(file),
    "endless": lambda file: file.symlink_to("/dev/zero"),
    "a pipe": os.mkfifo,
}
ACCEPTED = {
    ("history.csv", name)
    for name in ("empty", "a list", "a huge number", "not a number", "deep enough for what reads it", "many parts")
} | {
    *(("compress.json", name) for name in ("a folder", "a link to itself", "endless", "a pipe")),
    *(("classes.txt", name) for name in ("a list", "a huge number", "not a number", "deep enough for what reads it")),
    *((name, "empty") for name in ("plan.toml",)),
    ("classes.txt", "deep"),
    ("classes.txt", "many parts"),
    ("tuning.json", "a link to itself"),
}
"""What is sound: a table of no rows, a class of a strange name, a plan of no tables; a folder without such a file."""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes and links")
@pytest.mark.parametrize("what", DAMAGE)
@pytest.mark.parametrize("name", READERS)
def test_what_a_stranger_put_there_is_one_error(name: str, what: str, tmp_path: Path) -> None:
    import tracemalloc

    file = tmp_path / name
    DAMAGE[what](file)
    tracemalloc.start()
    start = time.process_time()
    if (name, what) in ACCEPTED:
        READERS[name](file)
    else:
        with pytest.raises(EdgepressError) as caught:
            READERS[name](file)
        assert str(tmp_path) in caught.value.message
        assert len(caught.value.message) < 5000
    assert time.process_time() - start < 20
    assert tracemalloc.get_traced_memory()[1] < 6 * MAX_BYTES
    tracemalloc.stop()


@given(data=st.data())
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_value_in_a_sweep_is_shown_or_refused(tmp_path_factory: Any, data: st.DataObject) -> None:
    document = json.loads(json.dumps(made_up_sweep().to_dict()))
    place = data.draw(st.sampled_from([*places(document)]))
    bad = changed(document, place, data.draw(ANYTHING))
    file = tmp_path_factory.getbasetemp() / "sweep.json"
    file.write_text(json.dumps(bad))
    with suppress(InputError):
        load_sweep(file)
        for form in ("md", "html"):
            report(file, format=form, out=file.with_suffix(f".{form}"))


@given(data=st.data())
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_value_of_compress_is_shown_or_refused(tmp_path_factory: Any, data: st.DataObject) -> None:
    document = compress_document()
    place = data.draw(st.sampled_from([*places(document)]))
    folder = tmp_path_factory.getbasetemp()
    (folder / "compress.json").write_text(json.dumps(changed(document, place, data.draw(ANYTHING))))
    with suppress(InputError):
        shown = compress_search_of(folder)
        assert shown is not None
        json.dumps(shown, allow_nan=False)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("rows", 0, "accuracy"), "NaN"),
        (("rows", 0, "accuracy"), 7),
        (("rows", 0, "latency_us"), -1),
        (("rows", 0, "size_bytes"), "5"),
        (("configurations", 0, "val_accuracy"), True),
        (("confidence",), 2),
        (("configurations", 1, "point"), {}),
        (("configurations", 1, "point", "arch"), None),
        (("configurations", 1, "point", "to"), []),
        (("configurations", 0, "point", "to"), {"x": 1}),
    ],
)
def test_figures_of_a_sweep_have_types_and_ranges(place: tuple[Any, ...], value: Any, tmp_path: Path) -> None:
    document = json.loads(json.dumps(made_up_sweep().to_dict()))
    (tmp_path / "sweep.json").write_text(json.dumps(changed(document, place, value)))
    with pytest.raises(InputError, match=str(place[-1])):
        load_sweep(tmp_path / "sweep.json")


PLAN = {"shares": [0.5, 0.25], "block": 1, "steps": [10, 0]}


@pytest.mark.parametrize(
    "bad",
    [{"shares": "ab"}, {"shares": [0.5, 2]}, {"shares": []}, {"block": 0}, {"block": True}, {"steps": [10]},
     {"steps": [-1, 0]}, {"steps": [10, 0.5]}, {"steps": [1 << 31, 0]}, {"steps": None}],
    ids=str,
)  # fmt: skip
def test_a_plan_of_a_run_that_is_resumed_has_types_and_ranges(bad: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(json.dumps(PLAN))
    assert read_pruning(tmp_path / "plan.json").shares == [0.5, 0.25]
    (tmp_path / "plan.json").write_text(json.dumps(PLAN | bad))
    with pytest.raises(EdgepressError, match=rf"plan\.json can't be read: .*{next(iter(bad))[:4]}|parts"):
        read_pruning(tmp_path / "plan.json")


def test_a_run_whose_loss_was_not_finite_is_resumed(tmp_path: Path) -> None:
    """`tune` and `prune` go back to the best weights, and keep the loss in the history."""
    from edgepress.toolkit.training import checkpoint

    checkpoint.save(checkpoint.TrainingState({}, [{"loss": float("nan")}, {"loss": float("inf")}]), tmp_path)
    state = checkpoint.load(tmp_path)
    assert state is not None
    assert [str(row["loss"]) for row in state.history] == ["nan", "inf"]
    (tmp_path / "start.json").write_text(json.dumps({"x": [float("-inf"), 2]}))
    assert read_ranges(tmp_path / "start.json") == {"x": (float("-inf"), 2)}


@pytest.mark.parametrize("bad", [1, [1], [1, 2, 3], ["a", "b"], [None, 1], {}, "ab", [True, 1]], ids=str)
def test_ranges_of_a_run_that_is_resumed_are_pairs_of_numbers(bad: Any, tmp_path: Path) -> None:
    (tmp_path / "start.json").write_text(json.dumps({"x": [-1.5, 2]}))
    assert read_ranges(tmp_path / "start.json") == {"x": (-1.5, 2)}
    (tmp_path / "start.json").write_text(json.dumps({"x": bad}))
    with pytest.raises(EdgepressError, match=r"start\.json can't be read: x"):
        read_ranges(tmp_path / "start.json")


def test_limits_are_inclusive(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_limited(tmp_path / "a", 5) == b"12345"
    with pytest.raises(ValueError, match="more than 4 bytes"):
        read_limited(tmp_path / "a", 4)

    def nested(levels: int) -> bytes:
        return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"

    parse_json(nested(DEEPEST))
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(nested(DEEPEST + 1))
    with pytest.raises(ValueError, match="lists and objects"):
        parse_json(b'{"a": [' + b"{}," * MOST_PARTS + b"{}]}")
    assert parse_json(b'{"a": [9223372036854775807, -1.5, null, true, "[[["]}')["a"][4] == "[[["


LONG_KEYS = {
    "bare": "a." * 200_000 + "a = 1",
    "a table": "[" + "a." * 200_000 + "a]",
    "inside": "x = {" + "a." * 200_000 + "a = 1}",
    "spaces": "a . " * 100_000 + "a = 1",
    "quoted": '"a b".' * 100_000 + "a = 1",
    "escapes": r'"\"".' * 100_000 + "a = 1",
    "literal": "'\"'." * 100_000 + "a = 1",
    "mixed": "a.\"b\".'c'." * 50_000 + "a = 1",
}


@pytest.mark.parametrize("text", LONG_KEYS.values(), ids=LONG_KEYS)
def test_keys_for_which_tomllib_takes_minutes_are_refused(text: str) -> None:
    start = time.process_time()
    with pytest.raises(ValueError, match="a key has more than"):
        parse_toml(text)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    "value", ["0x" + "F" * 8000, "9" * 4000, "9223372036854775808", "[[{a = 0o7777777777777777777777}]]"]
)
def test_integers_of_toml_fit_into_64_bits(value: str) -> None:
    """Larger ones are not valid TOML, and no arithmetic, no float and no message takes them."""
    with pytest.raises(ValueError, match="more than 64 bits"):
        parse_toml(f"[sweep.training]\nepochs = {value}")
    assert parse_toml("a = [9223372036854775807, -7, 1e400]")["a"][0] == (1 << 63) - 1


@pytest.mark.parametrize("part", ['\\"', "\\'", '"', "'", "a ", "a.", '"" ', "\\\\", '"\\\\" '])
def test_the_search_for_long_keys_takes_no_minutes_itself(part: str) -> None:
    start = time.process_time()
    with suppress(ValueError):
        parse_toml(f'x = "{part * ((1 << 18) // len(part))}\n')
    assert time.process_time() - start < 5


def test_what_looks_like_long_keys_and_is_none_is_read() -> None:
    text = f"a = [{'0.25, ' * 500}]\nb = '{'long/' * 500}'\n# {'. . ' * 500}\n{'k.' * (DEEPEST - 1)}k = 1\n"
    assert len(parse_toml(text)["a"]) == 500


@pytest.mark.usefixtures("apart")
def test_a_note_of_what_was_written_that_is_deep_or_huge_counts_as_none(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "a").touch()
    settings_paths.end(target)
    assert settings_paths.foreign(target) == ""
    for what in ("deep", "huge", "a list", "not a number", "many parts"):
        settings_paths._note(target).unlink()
        DAMAGE[what](settings_paths._note(target))
        assert settings_paths.foreign(target) == str(target / "a")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
def test_a_result_of_compress_that_is_no_file_is_not_touched(kind: str, tmp_path: Path) -> None:
    """`compress` moves what an earlier search wrote to the same folder, if it still is that."""
    model, result = tmp_path / "m.keras", tmp_path / "out" / "a.tflite"
    result.parent.mkdir()
    model.write_bytes(b"model")
    result.write_bytes(b"file")
    about = {"file": "a.tflite", "best": 0, "trials": [{"sha256": sha256_of(result)}]}
    assert earlier.file_of(about, result.parent, model) == result
    result.rename(tmp_path / "elsewhere.tflite")
    {
        "pipe": lambda: os.mkfifo(result),
        "link": lambda: result.symlink_to(tmp_path / "elsewhere.tflite"),
        "folder": result.mkdir,
    }[kind]()
    assert earlier.file_of(about, result.parent, model) is None


def test_names_of_limits_that_are_no_names_reach_no_path(tmp_path: Path) -> None:
    model = tmp_path / "m.keras"
    for name in ("../../x", "a" * 1000, "/x", "drop"):
        (tmp_path / "compress.json").write_text(json.dumps({"limits": {name: 1.5}}))
        home = earlier.set_aside(tmp_path, model, {})
        assert home is not None
        assert home.parent == tmp_path / earlier.EARLIER
        assert home.name.startswith("drop-1.5-") == (name == "drop")


def test_a_checkpoint_whose_facts_are_deep_is_one_error(tmp_path: Path) -> None:
    from edgepress.toolkit.training import checkpoint

    np.savez(tmp_path / checkpoint.NAME, facts=np.array("[" * 100_000))
    with pytest.raises(EdgepressError, match="nested too deeply"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize(
    "bad",
    [
        {"began_with": []},
        {"history": 5},
        {"history": [[1]]},
        {"best_epoch": "x"},
        {"best_epoch": 2},
        {"best_epoch": -1},
    ],
    ids=str,
)
def test_facts_of_a_checkpoint_have_types(bad: dict[str, Any], tmp_path: Path) -> None:
    from edgepress.toolkit.training import checkpoint

    facts = {"began_with": {}, "history": [{"epoch": 1}], "best_epoch": 1}
    np.savez(tmp_path / checkpoint.NAME, facts=np.array(json.dumps(facts)))
    assert checkpoint.load(tmp_path) == checkpoint.TrainingState(**facts)  # type: ignore[arg-type]
    np.savez(tmp_path / checkpoint.NAME, facts=np.array(json.dumps(facts | bad)))
    with pytest.raises(EdgepressError, match="can't be read: it "):
        checkpoint.load(tmp_path)


@given(st.text(st.characters(categories=["Cs", "Ll", "So"], include_characters='\\"u')))
def test_halves_of_surrogate_pairs_become_words_and_all_else_stays(text: str) -> None:
    """The name of a file that is not UTF-8 made a result that no command could read."""
    from pydantic_core import from_json

    document = with_halves_as_words(json.dumps({"name": text}).encode())
    seen = from_json(document)["name"]
    joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")  # json.loads joins pairs
    assert seen == "".join(f"\\u{ord(c):04x}" if "\ud800" <= c <= "\udfff" else c for c in joined)
    assert with_halves_as_words(document) == document
