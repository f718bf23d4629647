"""What this CPU reaches at most, measured on the engines with model files of one layer.

The kernels are a matrix product and a depthwise convolution, each in float32 and in 8-bit integers, on the engine and
in the size that reach most, and reading memory beyond the caches.

Limits: a ceiling is what these engines reached with the same number of threads while nothing else ran, not the peak
of the data sheet. A depthwise convolution has its own, because it computes little per byte read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.process.worker import ChildDied, run_in_child
from edgepress.runtime import ENGINES, available_engines
from edgepress.runtime.errors import EngineError, InputError
from edgepress.toolkit.results.records import Ceiling
from edgepress.toolkit.workers.operation_outputs import OPENERS, CeilingJob, Product, run_kernels


def dense_model(format: str, size: int, classes: int, *, rows: int = 1, int8: bool = False) -> bytes:
    """A fully connected layer: (rows, size) times weights = (rows, classes).

    Args:
        format: "tflite" or "onnx".
        size: Inputs of the layer.
        classes: Outputs of the layer.
        rows: Items in a batch.
        int8: Whether 8-bit integers are multiplied: int8 in and out for TFLite; uint8 in and int32 out for ONNX, the
            types for which ONNX Runtime is fastest. Else all is float32.
    """
    generator = np.random.Generator(np.random.PCG64(0))
    weights = generator.integers(-127, 128, (classes, size)).astype(np.int8 if int8 else np.float32)
    return (_tflite if format == "tflite" else _onnx)(weights, rows)


def depthwise_model(size: int, channels: int, *, int8: bool = False) -> bytes:
    """A TFLite file of a depthwise convolution of 3 x 3, padded: (1, size, size, channels) to the same shape.

    Args:
        size: Height and width.
        channels: Channels in and out.
        int8: Whether 8-bit integers are multiplied, else float32.
    """
    from ai_edge_litert import schema_py_generated as fb

    generator = np.random.Generator(np.random.PCG64(0))
    weights = generator.integers(-127, 128, (1, 3, 3, channels)).astype(np.int8 if int8 else np.float32)
    options = fb.DepthwiseConv2DOptionsT(strideH=1, strideW=1, depthMultiplier=1)
    shape = [1, size, size, channels]
    return _layer(
        "DEPTHWISE_CONV_2D",
        "DepthwiseConv2DOptions",
        options,
        weights,
        taken_shape=shape,
        given_shape=shape,
        version=3,
        bias=True,
    )


def _tflite(weights: npt.NDArray[Any], rows: int) -> bytes:
    from ai_edge_litert import schema_py_generated as fb

    classes, size = weights.shape
    options = fb.FullyConnectedOptionsT()
    return _layer(
        "FULLY_CONNECTED",
        "FullyConnectedOptions",
        options,
        weights,
        taken_shape=[rows, size],
        given_shape=[rows, classes],
        version=4,
    )


def _layer(
    kind: str,
    options_type: str,
    options: Any,
    weights: npt.NDArray[Any],
    *,
    taken_shape: list[int],
    given_shape: list[int],
    version: int,
    bias: bool = False,
) -> bytes:
    """A TFLite file of one operation; `version` is the first that takes int8, and `bias` adds one of zeros."""
    from ai_edge_litert import schema_py_generated as fb

    from edgepress.converters.to_tflite.flatbuffer import append, opcode, tensor, write

    graph = fb.SubGraphT(tensors=[], operators=[])
    root = fb.ModelT(version=3, operatorCodes=[], subgraphs=[graph], buffers=[fb.BufferT()])
    int8 = weights.dtype == np.int8
    type = fb.TensorType.INT8 if int8 else fb.TensorType.FLOAT32
    values = append(root.buffers, fb.BufferT(data=np.frombuffer(weights.tobytes(), np.uint8)))
    source = tensor(graph, taken_shape, "input", type=type)
    held = tensor(graph, list(weights.shape), "weights", buffer=values, type=type)
    sink = tensor(graph, given_shape, "scores", type=type)
    if int8:
        for index, scale in ((source, 0.01), (held, 0.01), (sink, 0.01 * weights[0].size ** 0.5)):
            graph.tensors[index].quantization = fb.QuantizationParametersT(scale=[scale], zeroPoint=[0])
    added = -1
    if bias:
        zeros = append(root.buffers, fb.BufferT(data=np.zeros(4 * given_shape[-1], np.uint8)))
        added = tensor(graph, given_shape[-1:], "bias", buffer=zeros, type=fb.TensorType.INT32 if int8 else type)
        if int8:
            graph.tensors[added].quantization = fb.QuantizationParametersT(scale=[0.0001], zeroPoint=[0])
    graph.inputs = [source]
    graph.outputs = [sink]
    layer = fb.OperatorT(
        opcodeIndex=opcode(root, getattr(fb.BuiltinOperator, kind)),
        inputs=[source, held, added],
        outputs=[sink],
        builtinOptionsType=getattr(fb.BuiltinOptions, options_type),
        builtinOptions=options,
    )
    append(graph.operators, layer)
    root.operatorCodes[0].version = version if int8 else 1
    return write(root)


def _onnx(weights: npt.NDArray[Any], rows: int) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    classes, size = weights.shape
    int8 = weights.dtype == np.int8
    source = helper.make_tensor_value_info("input", TensorProto.UINT8 if int8 else TensorProto.FLOAT, [rows, size])
    sink = helper.make_tensor_value_info("scores", TensorProto.INT32 if int8 else TensorProto.FLOAT, [rows, classes])
    node = helper.make_node("MatMulInteger" if int8 else "MatMul", ["input", "weights"], ["scores"])
    held = numpy_helper.from_array(np.ascontiguousarray(weights.T), "weights")
    graph = helper.make_graph([node], "dense", [source], [sink], [held])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


SIZES = (256, 512, 1024)
"""Rows, columns and depth of the products."""
IMAGES = ((56, 64), (28, 256), (14, 512))
"""Height, which is the width, and channels of the depthwise convolutions."""
TAPS = 9
"""Weights of a channel in a depthwise convolution of 3 x 3."""
SILENCE_S = 60.0
"""Time without a sign of life after which the child process is ended, seconds."""
FLOAT32 = "float32_macs_per_s"
INT8 = "int8_macs_per_s"


def measure_ceiling(threads: int) -> Ceiling:
    """Run the calibration kernels in a child process; takes about five seconds.

    Args:
        threads: Number of threads that they may use, the same as the files.

    Raises:
        InputError: `threads` is out of range.
        EngineError: No engine that can run the kernels is installed, or the process died.
    """
    if not 1 <= threads <= 256:
        raise InputError(f"threads is {threads}; accepted: 1 to 256.")
    engines = [e for e in OPENERS if e in available_engines()]
    if not engines:
        raise EngineError(f"Measuring the limits of this CPU needs one of {', '.join(OPENERS)}; none is installed.")
    about, products = zip(*_kernels(engines), strict=True)
    try:
        *rates, read = run_in_child(run_kernels, CeilingJob(threads, products), silence_s=SILENCE_S)
    except ChildDied as e:
        raise EngineError(f"The calibration kernels ended with {e}. {e.log}".strip()) from e
    best: dict[str, float] = {}
    kernels = {"memory_bytes_per_s": "NumPy bitwise OR over 256 MiB"}
    for (field, text), rate in zip(about, rates, strict=True):
        if rate > best.get(field, 0.0):
            best[field] = rate
            kernels[field] = text
    return Ceiling(**best, memory_bytes_per_s=read, kernels=kernels)


def _kernels(engines: list[str]) -> Iterator[tuple[tuple[str, str], Product]]:
    """Each kernel with the field of `Ceiling` that it is for, and its description."""
    for field, int8 in ((FLOAT32, False), (INT8, True)):
        kind = "8-bit integer" if int8 else "float32"
        for engine in engines:
            for n in SIZES:
                model = dense_model(ENGINES[engine].formats[0], n, n, rows=n, int8=int8)
                yield (field, f"{engine}, {kind} product of {n} x {n} x {n}"), Product(engine, model, n**3)
        for n, channels in IMAGES if "litert" in engines else ():
            text = f"litert, {kind} depthwise convolution, 3 x 3, of {n} x {n} x {channels}"
            model = depthwise_model(n, channels, int8=int8)
            yield (f"depthwise_{field}", text), Product("litert", model, n * n * channels * TAPS)
