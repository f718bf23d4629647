"""Small ONNX graphs, built node by node, for tests of rewrites."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from rewriting import rewrite

from edgepress.runtime.sessions import onnx_session

FLOAT, UINT8 = TensorProto.FLOAT, TensorProto.UINT8
EVERY_BYTE = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
"""Items of shape (1, 16, 16) that hold each byte once."""


class OnnxNet:
    """A chain of nodes on items of one shape, with a free batch."""

    def __init__(self, shape: tuple[int, ...], kind: int = FLOAT, *, seed: int = 0) -> None:
        self.now, self.kind, self.shape = "input", kind, shape
        self.random = np.random.default_rng(seed)
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def add(self, op: str, *inputs: Any, **attributes: Any) -> str:
        """A node, whose first input is the chain's end unless inputs are given; arrays among them become constants."""
        names = [x if isinstance(x, str) else self.constant(x) for x in inputs]
        if not any(isinstance(x, str) for x in inputs):
            names.insert(0, self.now)
        self.now = f"{op}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, names, [self.now], f"node_{len(self._nodes)}", **attributes))
        return self.now

    def constant(self, value: Any) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def conv(self, given: int, taken: int, kernel: tuple[int, int], *, bias: bool = True, **options: Any) -> str:
        weights = self.random.normal(size=(given, taken, *kernel)).astype(np.float32)
        more = [self.random.normal(size=given).astype(np.float32)] if bias else []
        return self.add("Conv", weights, *more, **options)

    def quantized(self, scale: Any, zero: Any, dtype: Any = np.uint8) -> str:
        """The end, rounded and restored."""
        pair = [np.array(scale, np.float32), np.array(zero, dtype)]
        self.add("QuantizeLinear", *pair)
        return self.add("DequantizeLinear", *pair)

    def model(self, kind: int = FLOAT, *, opset: int = 17) -> onnx.ModelProto:
        graph = helper.make_graph(
            self._nodes,
            "net",
            [helper.make_tensor_value_info("input", self.kind, ["batch", *self.shape])],
            [helper.make_tensor_value_info(self.now, kind, None)],
            self._constants,
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        return onnx.shape_inference.infer_shapes(made)

    def items(self, count: int = 2) -> Any:
        if self.kind == UINT8:
            return self.random.integers(0, 256, (count, *self.shape)).astype(np.uint8)
        return self.random.normal(size=(count, *self.shape)).astype(np.float32) * 4


def answer(model: onnx.ModelProto, items: Any, *, optimized: bool = True) -> Any:
    onnx.checker.check_model(model, full_check=True)
    levels = onnxruntime.GraphOptimizationLevel
    level = levels.ORT_ENABLE_ALL if optimized else levels.ORT_DISABLE_ALL
    session = onnx_session(onnxruntime, model.SerializeToString(), log_severity_level=3, graph_optimization_level=level)
    return session.run(None, {"input": items})[0]


def rewritten(model: onnx.ModelProto, what: str) -> tuple[onnx.ModelProto, int]:
    """A copy of a model after a rewrite, and at how many places it changed; unchanged if at none."""
    changed = copy.deepcopy(model)
    made = rewrite(what, changed)
    assert made or changed == model
    return changed, made


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def near(net: OnnxNet, what: str, *, places: int = 1, tolerance: float = 1e-5) -> onnx.ModelProto:
    """The net after a rewrite, which changed so many places and no answer by more than a share of the largest one."""
    model = net.model()
    changed, made = rewritten(model, what)
    assert made == places
    items = net.items()
    for optimized in (True, False):
        before, after = (answer(m, items, optimized=optimized) for m in (model, changed))
        assert np.abs(before - after).max() <= tolerance * np.abs(before).max()
    return changed
