"""Models that the tests of foreign models make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.converters.contract.hints import Hints
from edgepress.converters.conversion.conversion import Conversion
from edgepress.converters.errors import ConversionError
from edgepress.converters.variant import Variant
from edgepress.runtime import Contract, ModelFileError

FLOATS = ["tflite-float32", "onnx-float32"]


def small_net(channels: int = 3, activation: str | None = "softmax", classes: int = 4) -> Any:
    """A net with a depthwise convolution and random weights, for 16x16 images of values 0-1."""
    import keras

    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input((16, 16, channels)),
            keras.layers.Conv2D(6, 3, strides=2, activation="relu", name="first"),
            keras.layers.DepthwiseConv2D(3, name="depthwise"),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(classes, activation=activation, kernel_initializer="he_normal"),
        ]
    )


def converted(path: Path, schemes: Any, *, contract: Contract, **options: Any) -> list[Variant]:
    """The files of a model that takes the contract's items as they are."""
    with Conversion(path) as conversion:
        return conversion.run(schemes, contract, **options)


def refused(path: Path, hints: Hints | None = None) -> str:
    with Conversion(path, hints=hints) as conversion, pytest.raises((ModelFileError, ConversionError)) as caught:
        _ = conversion.facts
    return str(caught.value)


def onnx_of(path: Path, nodes: list[Any], *, batch: int | str = "n", opset: int = 17) -> Path:
    """An ONNX file from "image" (batch, 8, 8, 3) to "out" (batch, 5); the weights are called "weights"."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(0).normal(0, 0.01, (3 * 8 * 8, 5)).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 8, 8, 3])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [batch, 5])],
        [numpy_helper.from_array(weights, "weights")],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def onnx_with(path: Path, outputs: dict[str, list[Any]], *, shape: list[Any], softmax: bool = False) -> Path:
    """A float model from "x" (shape) to every output: the values of "x" times a matrix, in the output's shape."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, weights, count = [], [], int(np.prod(shape[1:]))
    nodes.append(helper.make_node("Flatten", ["x"], ["flat"]))
    for name, size in outputs.items():
        rng = np.random.default_rng(len(size))
        values = rng.normal(size=(count, int(np.prod(size[1:])))).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"w_{name}"))
        weights.append(numpy_helper.from_array(np.array([-1, *size[1:]]), f"s_{name}"))
        nodes.append(helper.make_node("MatMul", ["flat", f"w_{name}"], [f"m_{name}"]))
        nodes += [helper.make_node("Softmax", [f"m_{name}"], [f"p_{name}"], axis=1)] if softmax else []
        nodes.append(helper.make_node("Reshape", [f"{'p' if softmax else 'm'}_{name}", f"s_{name}"], [name]))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in outputs.items()]
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "g", [source], ends, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path
