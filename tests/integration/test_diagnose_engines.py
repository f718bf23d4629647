"""`diagnose --engines`: the first operation that engines compute differently, and why where it is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c99_graphs import graph

from edgepress.converters.to_c import arithmetic
from edgepress.converters.to_c.lowering import Program, lower
from edgepress.runtime import available_engines
from edgepress.toolkit.cli.main import main
from edgepress.toolkit.diagnosis.engines import diagnose
from edgepress.toolkit.diagnosis.engines.diagnose import UNKNOWN, cause_of, diagnose_engines
from edgepress.toolkit.errors import InputError, MissingExtraError, ModelFileError

BUILT_IN = "litert-built-in"
ALTERED = {"chain-0": 7, "wide-0": 1, "removal-3": 2, "removal-5": 0, "removal-8": 4}
"""Files, on which NumPy and LiteRT's built-in kernels agree, and the operation whose rounding is altered in each."""


def file_of(name: str, folder: Path) -> Path:
    path = folder / f"{name}.tflite"
    path.write_bytes(graph(name))
    return path


def with_altered_rounding(program: Program, number: int, monkeypatch: pytest.MonkeyPatch) -> Program:
    """The program with one operation whose last shift rounds down, not to the nearest number."""
    (place,) = (n for n, step in enumerate(program.steps) if step.operation.index == number)
    step = program.steps[place]

    def answer(*inputs: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(arithmetic, "divide", lambda v, bits: v >> bits)
            return step.answer(*inputs)

    steps = [*program.steps]
    steps[place] = replace(step, answer=answer)
    return replace(program, steps=tuple(steps))


@pytest.mark.parametrize("name", ALTERED)
def test_the_operation_whose_rounding_was_altered_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file_of(name, tmp_path)
    (pair,) = diagnose_engines(path, ["c99", BUILT_IN], samples=8).pairs
    assert (pair.first, pair.answers, pair.answer_steps) == (None, 0, 0)
    program = lower(path)
    altered = with_altered_rounding(program, ALTERED[name], monkeypatch)
    monkeypatch.setattr(diagnose, "lower", lambda path: altered)
    (pair,) = diagnose_engines(path, ["c99", BUILT_IN], samples=8).pairs
    assert pair.first is not None
    assert pair.first.operation == ALTERED[name]
    assert pair.first.kind == program.graph.operations[ALTERED[name]].kind
    assert pair.first.steps == 1
    assert 1 <= pair.first.items <= 8
    assert 0 < pair.first.values < 1


def test_known_differences_have_their_cause(tmp_path: Path) -> None:
    found = diagnose_engines(file_of("chain-1", tmp_path), ["c99", BUILT_IN, "litert"], samples=12)
    ties, once = found.pairs
    assert (ties.engines, once.engines) == (("c99", BUILT_IN), ("c99", "litert"))
    assert ties.first is not None
    assert once.first is not None
    assert (ties.first.operation, ties.first.kind) == (3, "CONV_2D")
    assert "ties of negative values" in ties.first.why
    assert (once.first.operation, once.first.kind) == (1, "CONV_2D")
    assert "XNNPACK rounds a result once" in once.first.why
    assert found.operations == 10
    assert found.items == 12


def test_causes_are_told_only_where_they_are_known() -> None:
    assert "ties" in cause_of("FULLY_CONNECTED", (BUILT_IN, "tflite-micro"), 1)
    assert cause_of("FULLY_CONNECTED", (BUILT_IN, "tflite-micro"), 2) == UNKNOWN
    assert cause_of("DEPTHWISE_CONV_2D", (BUILT_IN, "c99"), 1) == UNKNOWN
    assert "XNNPACK" in cause_of("ADD", ("c99", "litert"), 1)
    assert cause_of("RESHAPE", ("litert", "c99"), 1) == UNKNOWN
    assert "report it" in cause_of("ADD", ("c99", "tflite-micro"), 1)


def test_items_and_numbers_that_differ_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers 3 steps apart in one value of every second item."""
    path = file_of("chain-0", tmp_path)
    real = diagnose.outputs_on

    def shifted(*arguments: Any) -> Any:
        rows = real(*arguments)
        index = lower(path).graph.operations[4].output.index
        for row in rows[::2]:
            row[index] = row[index].astype(np.int64)
            row[index][5] -= 3
        return rows

    monkeypatch.setattr(diagnose, "outputs_on", shifted)
    (pair,) = diagnose_engines(path, ["c99", BUILT_IN], samples=9).pairs
    assert pair.first is not None
    assert (pair.first.operation, pair.first.steps, pair.first.items) == (4, 3, 5)
    assert pair.first.values == pytest.approx(5 / (9 * lower(path).graph.operations[4].output.size))
    assert pair.answers == 0, "only what the operation returned was changed"


def test_what_can_t_be_compared_is_one_error(run: Any, tmp_path: Path) -> None:
    path = file_of("chain-0", tmp_path)
    with pytest.raises(InputError, match="Unknown engine to compare 'c98'"):
        diagnose_engines(path, ["c98", "litert"])
    with pytest.raises(InputError, match="two engines or more"):
        diagnose_engines(path, ["c99"])
    with pytest.raises(InputError, match="samples is 0"):
        diagnose_engines(path, ["c99", "litert"], samples=0)
    with pytest.raises(ModelFileError) as caught:
        diagnose_engines(run.variants["tflite-float32"], ["c99", "litert"])
    assert "--target integer-only" in caught.value.hint
    with pytest.raises(ModelFileError, match="is an ONNX model"):
        diagnose_engines(run.variants["onnx-int8"], ["c99", "litert"])


@pytest.mark.skipif("tflite-micro" in available_engines(), reason="tflite-micro is installed")
def test_an_engine_that_is_missing_is_named_with_its_extra(tmp_path: Path) -> None:
    with pytest.raises(MissingExtraError, match=r"edgepress\[micro\]"):
        diagnose_engines(file_of("chain-0", tmp_path), ["c99", "tflite-micro"], samples=1)


@pytest.mark.skipif("tflite-micro" not in available_engines(), reason="tflite-micro is not installed")
@pytest.mark.parametrize("name", ["chain-0", "chain-1", "removal-0", "softmax-rows"])
def test_the_wheel_and_numpy_agree_in_every_operation(name: str, tmp_path: Path) -> None:
    (pair,) = diagnose_engines(file_of(name, tmp_path), ["tflite-micro", "c99"], samples=20).pairs
    assert pair.first is None


def test_the_command_names_the_operation_and_the_cause(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = file_of("chain-1", tmp_path)
    words = ["diagnose", str(path), "--engines", f"c99,{BUILT_IN},c99", "--samples", "12"]
    with pytest.raises(SystemExit, match="0"):
        main(words)
    shown = " ".join(capfd.readouterr().out.split())
    assert "CONV_2D" in shown
    assert "ties of negative values" in shown
    assert "none: the same numbers everywhere" in shown
    with pytest.raises(SystemExit, match="0"):
        main([*words, "--json"])
    document = json.loads(capfd.readouterr().out)
    assert document["pairs"][0]["first"]["operation"] == 3
    assert document["pairs"][1]["first"] is None
    with pytest.raises(SystemExit, match="1"):
        main(["diagnose", str(path), str(path), "--engines", "c99,litert"])
    assert "one file is run; found 2" in " ".join(capfd.readouterr().err.split())
