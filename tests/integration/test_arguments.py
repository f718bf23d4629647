"""Calls of public functions: names of arguments are those of options, and wrong ones are named."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from configuring import GROUP

import edgepress.toolkit as toolkit
from edgepress.converters.options.records import signature_of
from edgepress.toolkit.arguments import call_with, check_arguments, fits, in_words
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.improvement.playing.play import play
from edgepress.toolkit.shipping.boards.bench import board_bench

VERBS = [name for name in toolkit.__all__ if name in GROUP.commands]
OTHERWISE = {
    "annotate": set[str](),
    "benchmark": {"out"},  # `write_benchmark` writes
    "compare": {"format_", "unproven"},  # the exit code follows from `Comparison.unproven`
    "convert": {"verbose"},
    "diagnose": {
        "data",
        "plot",
        "attempt",
        "engines",
        "skip_unreadable",
        "samples",
        "test_items",
        "ssh_config",
    },  # `diagnose_accuracy` and `diagnose_engines`
    "calibrate": {"max_alarms", "stream", "events", "step"},  # `calibrate_stream`
    "evaluate": {"stream", "events", "step"},  # `evaluate_stream`
    "inspect": {"nodes"},
    "profile": {"nodes", "plot"},
    "sweep": {"data", "arch", "width", "size", "augmentation", "seeds", "to", "epochs", "rounds", "threads"}
    | {"skip_unreadable"}  # in the plan
    | {"search", "search_seed", "early_stopping", "max_size", "max_latency"}  # `proposer`
    | {"processes", "cluster", "scheduler", "insecure", "tls_ca", "tls_cert", "tls_key"},  # `runner`
    "train": {
        "skip_unreadable",
        "group",
        "window",
        "step",
        "label_column",
        "sound",
    },  # of `open_data`, as are "size", "color" and "resize", and fields of `Hints`
    "verify": {"bundle"},  # `path`, which comes first
}
"""Options that no argument of the function has the name of."""


@pytest.mark.parametrize("name", VERBS)
def test_every_option_has_an_argument_of_its_name(name: str) -> None:
    arguments = {*inspect.signature(getattr(toolkit, name)).parameters}
    arguments |= (
        {f.name for f in dataclasses.fields(toolkit.Hints)} if "hints" in arguments or name == "diagnose" else set()
    )
    arguments |= {f.name for f in dataclasses.fields(toolkit.BenchmarkOptions)} if "options" in arguments else set()
    options = {p.name for p in GROUP.commands[name].params} - {"json_output", "help_all"}
    assert options - arguments == OTHERWISE.get(name, set())


def test_an_opened_data_set_is_taken_as_it_is() -> None:
    """It is no class of options: what it holds was checked when it was opened."""
    data = toolkit.open_data("digits")
    with pytest.raises(InputError, match="nothing"):
        toolkit.train(data, "nothing")


def test_options_of_diagnose_data_are_arguments_of_diagnose_accuracy() -> None:
    options = {p.name for p in GROUP.commands["diagnose"].params}
    mine = {"data", "samples", "test_items", "attempt", "skip_unreadable"}
    assert mine <= options
    assert mine <= {*inspect.signature(toolkit.diagnose_accuracy).parameters}


@pytest.mark.parametrize("name", [*VERBS, "open_data", "diagnose_accuracy"])
def test_a_wrong_argument_is_named_with_what_was_given(name: str) -> None:
    function = getattr(toolkit, name)
    parameters = [*inspect.signature(function).parameters.values()]
    first, needed = parameters[0], {p.name: "x" for p in parameters if p.default is p.empty}
    many = first.kind is first.VAR_POSITIONAL
    for wrong in (3.5, b"x", object()):
        with pytest.raises(
            TypeError, match=rf"^{name}\(\): {first.name} is .*\((float|bytes|object)\); accepted: a text"
        ):
            function(wrong) if many else function(**needed | {first.name: wrong})
    with pytest.raises(TypeError, match=rf"^{name}\(\): .*unexpected keyword argument 'nonsense'"):
        function("x", nonsense=1) if many else function(**needed, nonsense=1)


@pytest.mark.parametrize(
    ("name", "named", "said"),
    [
        ("convert", {"to": 5}, "to is 5 (int); accepted: a text or Scheme or a list"),
        ("convert", {"samples": "many"}, "samples is 'many' (str); accepted: a whole number"),
        ("convert", {"rewrite": False}, "Did you mean 'rewrites'?"),
        ("convert", {"colour": "rgb"}, "Did you mean hints=Hints(color=...)?"),
        ("benchmark", {"rounds": 2}, "Did you mean options=BenchmarkOptions(rounds=...)?"),
        (
            "convert",
            {"hints": toolkit.Hints(labels=3)},
            "hints.labels is 3 (int); accepted: a text or a Path or a list",
        ),  # type: ignore[arg-type]
        ("convert", {"verify": "yes"}, "verify is 'yes' (str); accepted: True or False"),
        ("predict", {"images": 7}, "images is 7 (int); accepted: a text or a Path or a list"),
        ("evaluate", {"threads": 1.5}, "threads is 1.5 (float); accepted: a whole number"),
        ("evaluate", {"threads": True}, "threads is True (bool); accepted: a whole number"),
        ("compare", {"new": "b", "fail_if": "drop>0.5"}, "fail_if is 'drop>0.5' (str); accepted: a list"),
        ("prune", {"macs": [0.5]}, "macs is [0.5] (list); accepted: a text or a number or None"),
        ("train", {"epochs": "5"}, "epochs is '5' (str); accepted: a whole number or None"),
        ("benchmark", {"options": {"engine": "litert"}}, "accepted: BenchmarkOptions"),
        ("train", {"data": np.zeros((9, 8, 8))}, "data is array([[[0., 0., 0., 0., 0., 0., 0., 0.], [0., 0., 0"),
        (
            "train",
            {"data": np.zeros((9, 8, 8))},
            "a Path or DataSet or a pair (x, y) of arrays or a dictionary of arrays. Give arrays as a pair: (x, y).",
        ),
        ("evaluate", {"data": [np.zeros((9, 8)), np.zeros(9)]}, "Give arrays as a pair: (x, y)."),
    ],
)
def test_the_message_says_what_is_accepted(name: str, named: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError) as caught:
        getattr(toolkit, name)(**{next(iter(inspect.signature(getattr(toolkit, name)).parameters)): "a"} | named)
    assert said in str(caught.value)


def test_a_model_in_memory_is_told_to_be_converted_where_a_file_is_measured() -> None:
    import keras

    with pytest.raises(TypeError, match=r"file is .*Convert the model first: convert\(model, data=\(x, y\)\)\."):
        toolkit.evaluate(keras.Sequential(name="net"))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"accepted: a whole number\.$"):
        toolkit.convert("a", samples=np.zeros(3))  # type: ignore[arg-type]


def test_a_name_without_its_format_is_told_both() -> None:
    with pytest.raises(InputError, match="Did you mean 'tflite-int8' or 'onnx-int8'"):
        toolkit.convert("a", to="int8")


@pytest.mark.parametrize(
    ("value", "kind", "fitting"),
    [
        (1, int, True),
        (np.int64(1), int, True),
        (np.float32(1), float, True),
        (1, float, True),
        (False, float, False),
        ("a", Literal["b", "c"], True),
        (["a", Path("b")], Sequence[str | Path], True),
        (["a", 1], Sequence[str | Path], False),
        ("ab", Sequence[str], False),
        ((x for x in "ab"), Iterable[str], True),
        (print, Callable[[str], None] | None, True),
        (None, Callable[[str], None] | None, True),
        ("print", Callable[[str], None] | None, False),
        ({"a": 1}, typing.Mapping[str, Any], True),
        (object(), Any, True),
    ],
)
def test_what_fits(value: Any, kind: Any, fitting: bool) -> None:
    assert fits(value, kind) == fitting
    assert in_words(kind)


def test_what_fits_is_passed_on_unchanged() -> None:
    def join(first: str, *more: str, end: str = "") -> str:
        """Join."""
        return "".join([first, *more, end])

    assert check_arguments(join)("a", "b", "c", end="!") == "abc!"
    assert check_arguments(join).__doc__ == "Join."
    with pytest.raises(TypeError, match=r"join\(\): more is 3 \(int\)"):
        check_arguments(join)("a", "b", 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"join\(\): missing a required argument: 'first'"):
        check_arguments(join)()


@dataclasses.dataclass(frozen=True)
class Chosen:
    size: int
    name: str = "none"


def test_a_call_takes_the_arguments_that_the_function_has() -> None:
    def outer(size: int, name: str, other: str) -> Chosen:
        return call_with(Chosen, locals(), name=f"{name} {other}")

    assert outer(3, "a", "b") == Chosen(3, "a b")
    with pytest.raises(TypeError, match="size"):
        call_with(Chosen, {"name": "a"})


@pytest.mark.parametrize(
    ("command", "function", "otherwise"),
    [("bench", board_bench, {"targets"}), ("play", play, {"engine", "open_page"})],
)
def test_other_commands_name_the_arguments_of_their_functions(command: str, function: Any, otherwise: set[str]) -> None:
    group = GROUP.commands["board"] if command == "bench" else GROUP
    hints = {f.name for f in dataclasses.fields(toolkit.Hints)}
    options = {p.name for p in group.commands[command].params} - {"json_output", "help_all"} - hints
    assert options - {*signature_of(function).parameters} == otherwise
