"""ONNX's own cases: each is imported rightly, or refused by the name of its operation."""

from __future__ import annotations

import string
import warnings
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from onnx_cases import Case, file_cases, node_cases

from edgepress.converters.freezing.frozen import freeze, trace
from edgepress.converters.importers.node import UnsupportedError
from edgepress.converters.importers.onnx_graph import import_graph
from edgepress.converters.to_tflite.convert import float_tflite

IMPORTED = 0.9
"""Least share of the cases that are imported."""
REFUSED = {
    "lists and what may be missing": ("Optional", "Sequence", "SplitToSequence"),
    "results whose size depends on values": ("NonMaxSuppression", "Unique"),
    "chance, and steps of a training": ("Adagrad", "Adam", "BatchNormalization", "Bernoulli", "Dropout", "Momentum"),
    "no network's layers": ("ArrayFeatureExtractor", "Binarizer", "Det", "TreeEnsemble", "DequantizeLinear"),
    "rare layers of vision": ("Col2Im", "DeformConv", "MaxPool", "MaxUnpool", "RoiAlign"),
    "ONNX Runtime differs from the standard": ("Resize",),
    "several updates of one place": ("ScatterElements", "ScatterND", "TensorScatter"),
    "an opset before 9": ("Scan",),
}
"""Operations of cases that are refused, by the reason; of some, other cases are imported."""


def run(case: Case, *, lite: bool = False) -> Any:
    """What the function makes of the item, whose channels are last if it has any."""
    rank = case.item.ndim
    is_image = 3 <= rank <= 5
    item = np.moveaxis(case.item, 1, -1) if is_image else case.item
    infer = import_graph(case.model, channels_last=is_image)
    if not lite:
        import tensorflow as tf

        return np.asarray(infer(tf.constant(item)))
    interpreter = Interpreter(model_content=float_tflite(freeze(trace(infer, item.shape, "float32"))))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], item)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def is_right(case: Case, *, lite: bool = False) -> bool:
    """Whether a case is imported; it fails if it is imported wrongly, or refused under another name than its own."""
    why = ""
    try:
        found = run(case, lite=lite)
    except UnsupportedError as e:
        why = e.message
    if why:
        assert any(kind in why for kind in (*case.kinds, "Random")), (case.name, why)
        assert any(kind.startswith(each) for row in REFUSED.values() for each in row for kind in case.kinds), why
        return False
    expected = case.expected
    assert found.shape == expected.shape, case.name
    close = np.allclose(found.astype(float), expected.astype(float), rtol=1e-3, atol=1e-4, equal_nan=True)
    assert close, case.name
    return True


@pytest.mark.parametrize("letters", ["ab", "c", "defg", "hijklm", "nopq", "r", "s", "tuvwxyz"])
def test_cases_of_single_operations(letters: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cases that divide by zero
        cases = [case for case in node_cases() if case.name.removeprefix("test_")[0] in letters]
    right = [is_right(case) for case in cases]
    assert len(right) > 30


def test_nine_in_ten_cases_are_imported() -> None:
    assert {case.name.removeprefix("test_")[0] for case in node_cases()} <= {*string.ascii_lowercase}
    whole = {each for row in REFUSED.values() for each in row} - {"BatchNormalization", "Dropout", "MaxPool", "Resize"}
    whole -= {"ScatterElements", "ScatterND", "Scan", "DequantizeLinear"}
    refused = [case for case in node_cases() if any(kind.startswith(tuple(whole)) for kind in case.kinds)]
    partly = 20  # of those operations that are refused in some forms
    assert len(refused) + partly <= (1 - IMPORTED) * len(node_cases())


@pytest.mark.slow
def test_cases_of_files_are_right_as_tflite() -> None:
    right = [is_right(case, lite=True) for case in file_cases()]
    assert sum(right) >= IMPORTED * len(right)
    assert len(right) > 60
