"""Get from Keras what a file does not contain: shapes between layers, multiply-accumulates and memory per layer.

A layer is one step; nested models are included. A subclassed model has no graph, so its layers are listed without
shapes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from edgepress.converters.contract.hints import Size
from edgepress.converters.inspection import graph as g
from edgepress.converters.inspection.describe import describe
from edgepress.converters.inspection.report import Inspection, Port, total, with_size
from edgepress.converters.sources.keras import keras_of, load_keras_model, refusal
from edgepress.converters.sources.keras_2 import PACKAGE, objects_of
from edgepress.converters.sources.saved_keras import Saved, read_saved
from edgepress.runtime.errors import EdgepressError, InputError, parsing

KERNELS = {
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D", "Dense"), 1),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), 2),
}
"""Layers that apply the whole kernel at each output position, and how many of the kernel's last axes are channels."""
SEPARABLE = ("SeparableConv1D", "SeparableConv2D")
TRANSPOSED = ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
RECURRENT = ("LSTM", "GRU", "SimpleRNN")
NO_PRODUCT = (
    *("Embedding", "TextVectorization", "StringLookup", "IntegerLookup"),
    *("PReLU", "LayerNormalization", "RMSNormalization", "Normalization"),
)
"""Layers whose matrices are looked up, or applied element by element."""
OPAQUE = (
    *("Attention", "AdditiveAttention", "MelSpectrogram", "Dot", "Matmul", "Einsum", "Tensordot", "Inner", "Vdot"),
    *("DotProductAttention", "Conv", "DepthwiseConv", "SeparableConv", "ConvTranspose"),
)
"""Layers and operations (of `keras.ops`) without weights that multiply, which are not counted."""

PRODUCTS = ("matmul", "matvec", "einsum", "dot", "conv")
"""Parts of the names of TensorFlow's functions that multiply, as layers of Keras 2 call them."""

REPAIRED = "Keras opens a copy that edgepress convert repairs: under the suffix of its content, in float32."
KERAS_2 = "It is a file of Keras 2, which tf_keras opens; figures are those of the model in float32."

Shape = tuple[int, ...]


def open_in_keras(path: Path, inspection: Inspection, size: Size | None = None, *, trust: bool = False) -> Inspection:
    """The inspection, completed by opening a `.keras` or `.h5` file in Keras. Damaged files can crash the process.

    `trust` lets Keras run code inside the file.

    Raises:
        InputError: The model can't be made for inputs of `size`.
    """
    try:
        with parsing(path):
            saved = read_saved(path)
        model, note = _open_model(path, saved, trust=trust)
    except MemoryError:
        raise
    except EdgepressError as e:
        return inspection.refused(e.message)
    engine = {"name": f"tf_keras {metadata.version(PACKAGE)}"} if saved.keras_2 else {}
    notes = (*inspection.notes, note) if note else inspection.notes
    return with_layers(model, inspection.opened(**engine).replace(notes=notes), size)


def _open_model(path: Path, saved: Saved, *, trust: bool) -> tuple[Any, str]:
    """The model of a file, and a note if Keras opens it only after a change."""
    import keras

    try:
        if not saved.keras_2:
            return keras.saving.load_model(path, compile=False, safe_mode=not trust), ""
    except MemoryError:
        raise
    except Exception:  # Keras raises ValueError, TypeError, KeyError, OSError and others
        pass
    try:
        return load_keras_model(path, saved, {}, trust=trust), KERAS_2 if saved.keras_2 else REPAIRED
    except (MemoryError, EdgepressError):
        raise
    except Exception as e:  # as above
        raise refusal(path, e, (), saved) from e


def with_layers(model: Any, inspection: Inspection, size: Size | None = None) -> Inspection:
    """`inspection` with the layers of an opened Keras model, for inputs of `size` if they leave sizes free."""
    steps: list[g.InspectedStep] = []
    values: dict[str, g.Value] = {}
    inner = walked = _functional(model)
    start: list[str] = []
    end: list[str] = []
    notes: tuple[str, ...] = ()
    inputs = inspection.inputs
    outputs = inspection.outputs
    if inner is None:
        notes = ("A subclassed model: how its layers are joined is not known.",)
    else:
        inputs, outputs = (tuple(_port(t) for t in ends) for ends in (inner.inputs, inner.outputs))
        sized = tuple(with_size(inputs, size, inspection.file))
        if sized != inputs:
            inputs = sized
            inner = _rebuilt(inner, [p.shape or () for p in sized])
            if inner is None:
                message = f"{inspection.file} does not take inputs of shape {[list(p.shape or ()) for p in sized]}."
                raise InputError(message, "Give another size.")
            walked = inner
            outputs = tuple(_port(t) for t in inner.outputs)
        if items := next((t.shape[0] for t in inner.inputs if t.shape[0] not in (None, 1)), 0):
            walked = _rebuilt(inner, [(1, *t.shape[1:]) for t in inner.inputs])
            note = "figures are for one" if walked else "it can't be made for one, so figures for one are not known"
            notes = (f"It takes {items} items at a time: {note}.",)
    if walked is None:
        for layer in model.layers:
            if type(layer).__name__ != "InputLayer":
                _add(layer, [], [], steps=steps, values=values)
    else:
        start = [_key(t, values) for t in walked.inputs]
        end = _walk(walked, start, steps, values)
    described = describe(g.InspectedGraph(tuple(steps), values, tuple(start), tuple(end)), conversions=())
    if walked is None:
        described["peak_activation_bytes"] = None
    described["notes"] = (*inspection.notes, *notes, *described["notes"])
    return inspection.replace(inputs=inputs, outputs=outputs, **described)


def _functional(model: Any) -> Any:
    """The graph of a model, None if it has none. It is private to Keras (keras#19278; docs/architecture.md)."""
    inner = getattr(model, "_functional", None) or model  # a Sequential holds one
    return inner if hasattr(inner, "_nodes_by_depth") else None


def _rebuilt(model: Any, shapes: Sequence[Sequence[int | None]]) -> Any:
    """The graph of a model, made again for inputs of these shapes, batch included; None if that fails.

    A layer that keeps state and what is not a layer hold to a batch, and models inside have shapes of their own, so it
    is not enough to write other numbers into shapes.
    """
    import keras

    def again(layer: Any) -> Any:
        return layer if _functional(layer) else type(layer).from_config(layer.get_config())

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        inner = copied(layer, [t.shape for t in keras.tree.flatten(args)]) if _functional(layer) else layer
        return inner(*args, **kwargs)

    def copied(model: Any, shapes: Sequence[Any]) -> Any:
        inner = _functional(model)
        left = iter(shapes)
        inputs = keras.tree.map_structure(
            lambda t: keras.Input(batch_shape=next(left), dtype=t.dtype, name=t.name), inner.input
        )
        return keras.models.clone_model(inner, input_tensors=inputs, clone_function=again, call_function=call)

    try:
        if keras_of(model) is not keras:
            return _rebuilt_in_keras_2(model, shapes)
        return _functional(copied(model, shapes))
    except Exception:  # whatever a layer raises for another shape
        return None


def _rebuilt_in_keras_2(model: Any, shapes: Sequence[Sequence[int | None]]) -> Any:
    """The same for a model of Keras 2; None if models inside keep free sizes."""
    config = model.get_config()
    input_shapes = {tuple(tensor.shape): tuple(shape) for tensor, shape in zip(model.inputs, shapes, strict=True)}
    for layer in objects_of(config, "InputLayer"):
        shape = tuple(layer["config"]["batch_input_shape"])
        layer["config"]["batch_input_shape"] = input_shapes.get(shape, shape)
    again = type(model).from_config(config)
    parts = [inner for inner in again._flatten_layers() if _functional(inner)]
    free = any(n is None for part in parts for tensor in part.inputs for n in tuple(tensor.shape)[1:])
    return None if free else again


def _walk(
    model: Any, input_names: Sequence[str], steps: list[g.InspectedStep], values: dict[str, g.Value]
) -> list[str]:
    """Add a model's layers in the order in which they run, and return the names of its outputs."""
    names = {id(t): name for t, name in zip(model.inputs, input_names, strict=True)}
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.is_input:
                continue
            layer, tensors, outputs = _parts(node)
            read = [names[id(t)] for t in tensors]
            inner = _functional(layer)
            outputs_made = _walk(inner, read, steps, values) if inner else [_key(t, values) for t in outputs]
            names |= {id(t): name for t, name in zip(outputs, outputs_made, strict=True)}
            if inner is None:
                _add(layer, read, outputs_made, steps=steps, values=values)
    return [names[id(t)] for t in model.outputs]


def _parts(node: Any) -> tuple[Any, list[Any], list[Any]]:
    """The layer that a node calls, its inputs and its outputs, which Keras 2 names differently."""
    import tensorflow as tf

    if hasattr(node, "operation"):
        return node.operation, node.input_tensors, node.outputs
    return node.layer, node.keras_inputs, tf.nest.flatten(node.outputs)


def _add(
    layer: Any, read: list[str], names_made: list[str], *, steps: list[g.InspectedStep], values: dict[str, g.Value]
) -> None:
    variables = []
    for variable in getattr(layer, "weights", []):
        variables.append(getattr(variable, "path", f"{variable.name} {id(variable)}"))
        shape = tuple(int(n) for n in variable.shape)
        dtype = _dtype(variable)
        values[variables[-1]] = g.Value(shape, dtype, constant=True, quantized=dtype.startswith("int"))
    shapes = [[values[name].shape or () for name in names] for names in (read, names_made)]
    steps.append(
        g.InspectedStep(
            operation=type(layer).__name__,
            name=str(layer.name),
            inputs=(*read, *variables),
            outputs=tuple(names_made),
            weights=tuple(range(len(read), len(read) + len(variables))),
            macs=macs(layer, shapes[0][0], shapes[1][0]) if read and names_made else None if variables else 0,
            index=len(steps),
        )
    )


def macs(layer: Any, input_shape: Shape, output_shape: Shape) -> int | None:
    """Multiply-accumulates of one layer for input and output of these shapes; None if they can't be counted."""
    kinds = {kind.__name__ for kind in type(layer).__mro__}
    if channels := next((KERNELS[k] for k in KERNELS if k in kinds), 0):
        kernel = layer.depthwise_kernel if hasattr(layer, "depthwise_kernel") else layer.kernel
        return math.prod(output_shape) * _product(kernel.shape[:-channels])
    if kinds & {*SEPARABLE}:
        kernels = (layer.depthwise_kernel, layer.pointwise_kernel)
        return math.prod(output_shape) // int(kernels[1].shape[-1]) * sum(_product(k.shape) for k in kernels)
    if kinds & {*TRANSPOSED}:
        return math.prod(input_shape) * _product(layer.kernel.shape[:-1])
    if kinds & {*RECURRENT}:
        return input_shape[1] * sum(_product(k.shape) for k in (layer.cell.kernel, layer.cell.recurrent_kernel))
    if "Bidirectional" in kinds:
        return total(macs(part, input_shape, output_shape) for part in (layer.forward_layer, layer.backward_layer))
    if "TimeDistributed" in kinds:
        once = macs(layer.layer, (1, *input_shape[2:]), (1, *output_shape[2:]))
        return None if once is None else input_shape[1] * once
    if "TFOpLambda" in kinds:
        return None if any(part in layer.get_config()["function"] for part in PRODUCTS) else 0
    if kinds & {*OPAQUE}:
        return None
    matrices = [v for v in getattr(layer, "weights", []) if len(v.shape) > 1]
    return None if matrices and not kinds & {*NO_PRODUCT} else 0


def _product(shape: Sequence[int]) -> int:
    return math.prod(int(n) for n in shape)


def _key(tensor: Any, values: dict[str, g.Value]) -> str:
    name = f"tensor {len(values)}"
    values[name] = g.Value(tuple(1 if n is None else int(n) for n in tensor.shape), _dtype(tensor))
    return name


def _port(tensor: Any) -> Port:
    shape = tuple(None if n is None else int(n) for n in tensor.shape)
    return Port(name=str(tensor.name), shape=shape, dtype=_dtype(tensor))


def _dtype(tensor: Any) -> str:
    return str(getattr(tensor.dtype, "name", tensor.dtype))
