"""Functions of one number in exported C: LiteRT's answers for every number, at many drawn scales."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from c99_graphs import Maker
from c99_lookup import FUNCTIONS, function_graph
from running_wasm import litert_answers

from edgepress.converters.to_c.lookup import WITHOUT_TFLM
from edgepress.converters.to_c.lowering import lower

EVERY = np.arange(-128, 128, dtype=np.int8).reshape(1, 256)


@pytest.mark.parametrize("function", [each for each in FUNCTIONS if each != "ELU"])  # which those kernels lack
def test_every_number_gets_the_answer_of_litert(function: str, tmp_path: Path) -> None:
    path = tmp_path / "graph.tflite"
    for number in range(40):
        path.write_bytes(function_graph(f"{function.lower()}-{1000 + number}"))
        assert np.array_equal(lower(path).answers(EVERY), litert_answers(path, EVERY)), number


@pytest.mark.parametrize(("kind", "largest"), [("RSQRT", True), ("SQRT", False)])
def test_roots_of_numbers_below_0_are_those_of_0(kind: str, largest: bool, tmp_path: Path) -> None:
    """Where TFLM and LiteRT end with an error."""
    made = Maker("below", (256,))
    made._add("QUANTIZE", [made.at], (256,), 0.05, 10)
    made._add(kind, [made.at], (256,), 0.02, -5)
    source = made.net.graph.tensors[made.net.input].quantization
    source.scale[0], source.zeroPoint[0] = 0.05, 10
    path = tmp_path / "graph.tflite"
    path.write_bytes(made.model())
    answers = lower(path).answers(EVERY)[0]
    assert set(answers[: 128 + 11]) == {127 if largest else -5}
    changes = np.diff(answers[128 + 10 :].astype(int))
    assert (changes * (-1 if largest else 1) >= 0).all()
    assert len(set(answers)) > 20


def test_operations_without_an_integer_kernel_in_tflm_are_all_drawn() -> None:
    assert {*WITHOUT_TFLM} <= {function.partition("-")[0] for function in FUNCTIONS}
