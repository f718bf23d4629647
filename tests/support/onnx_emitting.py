"""Check ONNX graphs that were written from TFLite graphs: every tensor has its name and LiteRT's values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
from ai_edge_litert import schema_py_generated as fb
from ai_edge_litert.interpreter import Interpreter
from rewriting import BUILTIN, Net

from edgepress.converters.to_onnx.convert import finish
from edgepress.converters.to_onnx.emission import Emission, channels_first
from edgepress.converters.to_onnx.operations import TABLE, of_one
from edgepress.converters.to_tflite.graph import Graph


def emitted(model: bytes) -> onnx.ModelProto:
    return finish(Emission(Graph(model), of_one).write(TABLE))


def turns(model: onnx.ModelProto) -> int:
    return Counter(node.op_type for node in model.graph.node)["Transpose"]


def by_name(model: bytes, item: Any) -> dict[str, Any]:
    """LiteRT's value of every tensor that an operation makes."""
    interpreter = Interpreter(
        model_content=model, experimental_op_resolver_type=BUILTIN, experimental_preserve_all_tensors=True
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], item)
    interpreter.invoke()
    made = {int(i) for op in interpreter._get_ops_details() for i in op["outputs"]}
    return {
        d["name"]: interpreter.get_tensor(d["index"]) for d in interpreter.get_tensor_details() if d["index"] in made
    }


def check(net: Net, *, above: float | None = None) -> onnx.ModelProto:
    """Write a net in ONNX and compare every tensor, by name; returns the model."""
    model = net.model()
    written = emitted(model)
    item = net.random.normal(size=net.graph.shape(0)).astype(np.float32) * 3
    item = item if above is None else np.abs(item) + above
    expected = by_name(model, item)
    made = {name for node in written.graph.node for name in node.output}
    kinds = {net.graph.name(int(i)): net.graph.kind(op) for op in net.graph.operators for i in op.outputs}
    assert {kinds[name] for name in expected.keys() - made} <= {"RESHAPE", "TRANSPOSE"}  # that change nothing
    expected = {name: value for name, value in expected.items() if name in made}
    watched = onnx.ModelProto.FromString(written.SerializeToString())
    known = {v.name for v in watched.graph.output}
    watched.graph.output.extend(onnx.helper.make_empty_tensor_value_info(n) for n in expected if n not in known)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options)
    names = [o.name for o in session.get_outputs()]
    for name, found in zip(names, session.run(names, {"input": item}), strict=True):
        wanted = expected[name]
        if found.shape != wanted.shape or (name not in known and not close(found, wanted)):
            wanted = wanted.transpose(channels_first(wanted.ndim))
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * max(1.0, np.abs(wanted).max()), err_msg=name)
    return written


def put(net: Net, kind: str, inputs: list[Any], shape: tuple[int, ...], table: str, **options: Any) -> None:
    """An operation whose options are in a table of another name."""
    net.add(kind, inputs, shape)
    op = net.graph.operators[-1]
    op.builtinOptionsType = getattr(fb.BuiltinOptions, table)
    op.builtinOptions = getattr(fb, f"{table}T")(**options)


def close(found: Any, wanted: Any) -> bool:
    return bool(np.allclose(found, wanted, rtol=1e-4, atol=1e-4 * max(1.0, np.abs(wanted).max())))


def between(add: Callable[[Net], object], *, channels: int = 6, size: tuple[int, int] = (6, 5)) -> Net:
    """An operation between two convolutions."""
    net = Net(size, 3)
    net.conv(channels, (3, 3), act=1)
    add(net)
    if len(net.shape) == 4:
        net.conv(2)
    return net


def dense(net: Net, units: int, *, keeps: bool = False, act: int = 0, bias: bool = True) -> None:
    taken = net.shape[-1] if keeps else int(np.prod(net.shape[1:]))
    weights = net.random.normal(size=(units, taken)).astype(np.float32)
    more = [net.random.normal(size=units).astype(np.float32)] if bias else []
    shape = (*net.shape[:-1], units) if keeps else (1, units)
    net.add("FULLY_CONNECTED", [net.now, weights, *more], shape, keepNumDims=keeps, fusedActivationFunction=act)
