"""UNIDIRECTIONAL_SEQUENCE_LSTM in exported C: its state, its memory, what is refused, and files that others wrote."""

from __future__ import annotations

import os
import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from building_c import Library, missing, selftest_output
from c99_graphs import items
from c99_recurrent import Recurrent, single, stacked
from running_wasm import NODE, run_stored

from edgepress.converters.contract.hints import Hints
from edgepress.converters.to_c.lowering import Program, lower
from edgepress.converters.to_c.placement import Placement, place
from edgepress.runtime.errors import ModelFileError
from edgepress.toolkit import annotate, export

REAL = Path(__file__).parents[2] / "../shared/real/models"
PUBLISHED = ("coral/keras_lstm_mnist_ptq", "tflm/trained_lstm_int8")
needs_gcc = pytest.mark.skipif(missing("gcc") != "", reason="gcc is not installed")
needs_wheel = pytest.mark.skipif(
    "EDGEPRESS_TFLM_PYTHON" not in os.environ, reason="EDGEPRESS_TFLM_PYTHON names no Python with TFLM"
)


def lowered(content: bytes, folder: Path) -> Program:
    """A program of a file in a folder."""
    path = folder / "graph.tflite"
    path.write_bytes(content)
    return lower(path)


def given(name: str, program: Program) -> npt.NDArray[Any]:
    """Items for a drawn graph."""
    rows: npt.NDArray[Any] = items(name, program.input.size, program.input.dtype)
    return rows


@needs_wheel
@pytest.mark.parametrize("drawn", range(40))
def test_drawn_lstms_answer_what_the_wheel_answers(drawn: int, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks" / "microcontrollers"))
    from c99_answers import many_tflm_answers

    name = f"lstm-{random.randrange(10**9)}"
    program = lowered((stacked if drawn % 8 == 0 else single)(name), tmp_path)
    rows = given(name, program)
    (expected,) = many_tflm_answers([(tmp_path / "graph.tflite", rows)])
    assert np.array_equal(program.answers(rows), expected), name


@needs_gcc
@pytest.mark.parametrize("number", range(3))
def test_a_reset_forgets_and_without_one_items_go_on(number: int, tmp_path: Path) -> None:
    name = f"lstm-reset-{number}"
    m = Recurrent(name, (4 + number, 5))
    program = lowered(m.lstm(6).model(), tmp_path)
    assert not program.is_stream
    rows = given(name, program)
    kept: dict[int, Any] = {}
    first = program.answers(rows[:1], kept)
    assert np.array_equal(program.answers(rows[:1]), first)
    assert not np.array_equal(program.answers(rows[:1], kept), first), "else the state does nothing"
    made = Library(program, place(program, tries=50), tmp_path / "c", "-O1")
    alone = np.concatenate([made.answers(row[np.newaxis]) for row in rows])
    assert np.array_equal(alone, np.concatenate([program.answers(row[np.newaxis]) for row in rows]))
    assert not np.array_equal(alone, made.answers(rows))
    states = {state.tensor.dtype: state for state in program.graph.states}
    assert set(states) == {"int8", "int16"}
    hidden = states["int8"]
    assert set(hidden.first.ravel()) == {hidden.tensor.zero_point}
    assert not states["int16"].first.any()


@needs_gcc
@pytest.mark.parametrize("sizes", [(5, 3, 9), (5, 9, 6), (4, 8, 8), (1, 6, 7)])
def test_the_output_may_overlap_the_input_at_the_distance_and_not_nearer(
    sizes: tuple[int, int, int], tmp_path: Path
) -> None:
    time, depth, count = sizes
    name = f"lstm-near-{sizes}"
    program = lowered(Recurrent(name, (time, depth)).lstm(count).model(), tmp_path)
    (step,) = program.steps
    rows = given(name, program)
    expected = program.answers(rows)

    def answers(distance: int, folder: str) -> npt.NDArray[Any]:
        begin = max(0, -distance)
        at = begin + distance
        state = -(-max(begin + step.output.size, at + step.inputs[0].size) // 4) * 4
        cells = state + -(-count // 4) * 4
        source, hidden, cell = (tensor.index for tensor in step.inputs)
        tensors = {source: at, step.output.index: begin, hidden: state, cell: cells}
        return Library(program, Placement(cells + 2 * count, tensors, {}), tmp_path / folder, "-O0").answers(rows)

    assert np.array_equal(answers(step.distances[0], "near"), expected)
    assert not np.array_equal(answers(step.distances[0] - 1, "nearer"), expected)


def _place(place: int, change: Callable[[Recurrent], int]) -> Callable[[Recurrent], None]:
    """Another tensor at a place among the inputs of the LSTM."""

    def apply(m: Recurrent) -> None:
        index = change(m)
        operator = _operator(m)
        operator.inputs = [index if at == place else each for at, each in enumerate(operator.inputs)]

    return apply


def _operator(m: Recurrent) -> Any:
    return m.net.graph.operators[0]


def _constant(shape: tuple[int, ...], value: int = 1, dtype: Any = np.int8, scales: int = 1) -> Callable[[Any], int]:
    return lambda m: m.net.constant(np.full(shape, value, dtype), [0.01] * scales)


def _state(scale: float, dtype: Any, shape: tuple[int, ...] = (1, 6)) -> Callable[[Recurrent], int]:
    def make(m: Recurrent) -> int:
        index: int = m.net.tensor(shape, scale, 0, dtype)
        m.net.graph.tensors[index].isVariable = True
        return index

    return make


def _option(**values: Any) -> Callable[[Recurrent], None]:
    def apply(m: Recurrent) -> None:
        for name, value in values.items():
            setattr(_operator(m).builtinOptions, name, value)

    return apply


def _shorter(m: Recurrent) -> None:
    _operator(m).inputs = list(_operator(m).inputs)[:20]


def _extreme(m: Recurrent) -> int:
    values = np.ones((6, 5), np.int8)
    values[:2] = -128
    index: int = m.net.constant(values, [0.01])
    return index


REFUSED: dict[str, tuple[Callable[[Recurrent], None], str]] = {
    "peephole": (_place(9, _constant((6,))), "it has peephole weights, which TFLM does not run"),
    "last peephole": (_place(11, _constant((6,))), "it has peephole weights, which TFLM does not run"),
    "projection": (_place(16, _constant((6, 6))), "it has a projection, which TFLM does not run"),
    "bias of a projection": (_place(17, _constant((6,), dtype=np.int32)), "it has a projection"),
    "layer normalization": (_place(20, _constant((6,))), "it has layer normalization, which TFLM does not run"),
    "CIFG": (_place(1, lambda m: -1), "its input gate follows from its forget gate (CIFG)"),
    "activation": (_option(fusedActivationFunction=1), "its activation has the number 1; accepted: 4"),
    "20 inputs": (_shorter, "it has 20 inputs; accepted: 24"),
    "shape of weights": (_place(2, _constant((5, 6))), "the weights of its forget gate have the shape [5, 6]"),
    "shape of recurrent weights": (_place(8, _constant((6, 5))), "the weights of its output gate have the shape"),
    "scales of weights": (_place(3, _constant((6, 5), scales=6)), "the weights of its cell gate have several scales"),
    "least weights": (_place(4, _extreme), "are -128 beside negative ones; accepted: -127 to 127"),
    "activations as weights": (_place(3, lambda m: m.net.input), "its input 3 is not constant"),
    "type of biases": (_place(12, _constant((6,))), "its input 12 is int8; accepted: int32"),
    "large biases": (_place(13, _constant((6,), 2**31 - 1, np.int32)), "may reach"),
    "number of biases": (_place(14, _constant((4,), dtype=np.int32)), "it has 4 biases for 6 channels"),
    "constant state": (_place(18, _constant((1, 6))), "its input 18 is no variable tensor"),
    "cells of 8 bits": (_place(19, _state(2.0**-9, np.int8)), "its state is int8 with 1 scales; accepted: int16"),
    "scale of cells": (_place(19, _state(0.0003, np.int16)), "accepted: a power of 2 from 2^-24 to 2^0"),
    "large scale of cells": (_place(19, _state(2.0, np.int16)), "its cells have the scale 2.0"),
    "number of cells": (_place(19, _state(2.0**-9, np.int16, (1, 5))), "with states of 6 and 5"),
    "small scale of the state": (_place(18, _state(1e-10, np.int8)), "its hidden state has the scale 1"),
    "batch": (_option(timeMajor=True), "its batch is 4; accepted: 1"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_forms_that_tflm_does_not_run_or_that_do_not_fit_are_refused_by_name(form: str, tmp_path: Path) -> None:
    change, said = REFUSED[form]
    m = Recurrent("refused", (4, 5))
    m.lstm(6)
    change(m)
    with pytest.raises(ModelFileError, match=re.escape(said)) as caught:
        lowered(m.model(), tmp_path)
    assert "operation 0 (UNIDIRECTIONAL_SEQUENCE_LSTM)" in caught.value.message


def test_an_lstm_of_floats_is_refused(tmp_path: Path) -> None:
    m = Recurrent("refused", (4, 5))
    m.lstm(6)
    for tensor in m.net.graph.tensors:
        tensor.type = 0 if tensor.type in (7, 9) else tensor.type
    with pytest.raises(ModelFileError, match="it computes in float32"):
        lowered(m.model(), tmp_path)


@needs_gcc
def test_the_self_test_of_an_exported_lstm_resets_before_each_item(tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(Recurrent("exported", (4, 5)).lstm(6).model())
    exported = export(tmp_path / "net.tflite", out=tmp_path / "c", samples=5)
    assert exported.report["ram"]["arena"] > 0
    assert selftest_output(tmp_path / "c", "gcc").startswith("5 of 5")
    assert "before each item that does not go on" in (tmp_path / "c" / "model.h").read_text()
    assert "## State" in (tmp_path / "c" / "README.md").read_text()
    source = tmp_path / "c" / "selftest.c"
    source.write_text(source.read_text().replace("        model_reset();\n", ""))
    built = subprocess.run(
        ["gcc", "-I", tmp_path / "c", source, tmp_path / "c" / "model.c", "-o", tmp_path / "x"], check=False
    )
    assert built.returncode == 0
    assert subprocess.run([tmp_path / "x"], check=False).returncode == 1


@pytest.mark.skipif(NODE is None, reason="no Node.js on this machine: apt-get install nodejs")
def test_a_page_resets_an_lstm_before_each_item(tmp_path: Path) -> None:
    pytest.importorskip("ziglang")
    (tmp_path / "net.tflite").write_bytes(Recurrent("a picture", (12, 12)).lstm(6).dense(3).model())
    (tmp_path / "labels.txt").write_text("a\nb\nc")
    hints = Hints(labels=tmp_path / "labels.txt", task="logits", input_range="0,1")
    annotate(tmp_path / "net.tflite", tmp_path / "known.tflite", hints=hints)
    program = lower(tmp_path / "known.tflite")
    export(tmp_path / "known.tflite", "wasm", out=tmp_path / "page", samples=2)
    rows = given("a picture", program)
    alone = np.concatenate([program.answers(row[np.newaxis]) for row in rows])
    assert not np.array_equal(alone, program.answers(rows)), "else the state does nothing"
    assert np.array_equal(run_stored(tmp_path / "page", rows, np.int8), alone)


@needs_gcc
@pytest.mark.parametrize("file", PUBLISHED)
def test_published_lstms_export(file: str, tmp_path: Path) -> None:
    path = REAL / f"{file}.tflite"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    export(path, out=tmp_path / "c", samples=6)
    assert selftest_output(tmp_path / "c", "gcc").startswith("6 of 6")
