"""Models that differ from a given one at one place: a rewrite must keep the answers of each, whether it fits or not."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnx_rewriting import OnnxNet, rewritten

Found = tuple[str, onnx.ModelProto]


def check_neighbours(
    net: OnnxNet, what: Any, *, tolerance: float = 1e-5, places: int = 1, foreign: str = "", numbers: bool = True
) -> None:
    """Rewrite a net, at so many places, and every neighbour that ONNX Runtime takes; all answers stay.

    Args:
        net: The net.
        what: The rewrite.
        tolerance: How far an answer may move, as a share of the largest one.
        places: At how many places the net itself is changed.
        foreign: Kinds of operations; if one of them is another domain's, nothing is changed.
        numbers: Whether constants may have other values, too.
    """
    model, items = net.model(), net.items()
    changed, made = rewritten(model, what)
    assert made == places
    _check("the net itself", changed, items, _answers(model, items), tolerance)
    valid = 0
    for label, neighbour in neighbours(model, numbers=numbers):
        try:
            onnx.checker.check_model(neighbour, full_check=True)
            before = _answers(neighbour, items)
        except Exception:
            continue  # no model
        _check(label, rewritten(neighbour, what)[0], items, before, tolerance)
        valid += 1
    assert valid >= 8, "hardly any neighbour is a model"
    for place, node in enumerate(model.graph.node):
        if node.op_type in foreign.split():
            other = copy.deepcopy(model)
            other.graph.node[place].domain = "of.others"
            other.opset_import.append(helper.make_opsetid("of.others", 1))
            assert rewritten(other, what)[1] < places, f"{node.op_type} of another domain"


def neighbours(model: onnx.ModelProto, *, numbers: bool) -> Iterator[Found]:
    """Models with one change: another output, number, attribute, order or shape of a constant; not all are valid."""
    for place, node in enumerate(model.graph.node):
        for name in node.output:
            if name != model.graph.output[0].name:
                changed = copy.deepcopy(model)
                changed.graph.output.append(helper.make_empty_tensor_value_info(name))
                yield f"{name} is an output", _inferred(changed)
        if len(node.input) == 2 and node.input[0] != node.input[1]:
            changed = copy.deepcopy(model)
            changed.graph.node[place].input[:] = [node.input[1], node.input[0]]
            yield f"{node.output[0]} reads in another order", _inferred(changed)
        for index, attribute in enumerate(node.attribute):
            changed = copy.deepcopy(model)
            del changed.graph.node[place].attribute[index]
            yield f"{node.output[0]} without {attribute.name}", _inferred(changed)
    for place, tensor in enumerate(model.graph.initializer):
        changed = copy.deepcopy(model)
        changed.graph.initializer[place].name = stored = f"{tensor.name}_stored"
        changed.graph.node.insert(0, helper.make_node("Identity", [stored], [tensor.name], tensor.name))
        yield f"{tensor.name} is computed", _inferred(changed)
        value = numpy_helper.to_array(tensor)
        if numbers and value.dtype == np.float32:
            shares = np.linspace(1, 1.5, value.size, dtype=np.float32).reshape(value.shape)
            others = {
                "larger": value * np.float32(1.25),
                "negative": -value,
                "varying": value * shares,
                "of more axes": value.reshape(1, 1, 1, 1, *value.shape),
            }
            for label, other in others.items():
                changed = copy.deepcopy(model)
                changed.graph.initializer[place].CopyFrom(numpy_helper.from_array(other, tensor.name))
                yield f"{tensor.name} is {label}", _inferred(changed)


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    del model.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(model)


def _answers(model: onnx.ModelProto, items: Any) -> dict[str, Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, {"input": items}), strict=True))


def _check(label: str, model: onnx.ModelProto, items: Any, before: dict[str, Any], tolerance: float) -> None:
    after = _answers(model, items)
    assert after.keys() == before.keys()
    for name, value in before.items():
        assert after[name].shape == value.shape, f"{label}: the shape of {name}"
        size = np.abs(value.astype(np.float64)).max()
        if np.isfinite(size):
            off = np.abs(after[name].astype(np.float64) - value).max()
            assert off <= tolerance * size, f"{label}: {name} is off by {off} of {size}"
