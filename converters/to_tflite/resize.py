"""Fix the sizes that a TFLite file's input leaves free: the interpreter resizes, and the shapes go into the file.

Operations that compute a shape (SHAPE and what follows from it) become constants, because boards and quantizers expect
a graph whose shapes are known before it runs.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from edgepress.converters.errors import ConversionError
from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.runtime.errors import InputError, first_line


def item_shape(model: bytes) -> tuple[int | None, ...]:
    """Shape of one item that a model takes in its first input; None where the file leaves a size free."""
    _, graph = flat.read(model)
    source = graph.tensors[graph.inputs[0]]
    shape = source.shape if source.shape is not None else []
    signature = shape if source.shapeSignature is None else source.shapeSignature
    return tuple(None if free < 0 else int(size) for size, free in zip(shape[1:], signature[1:], strict=True))


def with_shape(model: bytes, shape: tuple[int, ...], where: str, *, fold: bool = True) -> bytes:
    """The model of a file (`where`) for items of this shape, with the shapes of all tensors that follow from it.

    `fold` makes constants of the operations that compute shapes.

    Raises:
        InputError: The interpreter can't run it at this shape.
        ConversionError: It has several inputs.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    root, graph = flat.read(model)
    if len(graph.inputs) > 1:
        raise ConversionError(f"{where} has {len(graph.inputs)} inputs; only one can be resized.", "Leave out --size.")
    with warnings.catch_warnings(action="ignore"):  # that keeping every tensor takes memory: it is what we want
        # A delegate would not report the shapes, or values, of tensors inside its part.
        interpreter = Interpreter(
            model_content=model,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
    source = interpreter.get_input_details()[0]
    batch = int(source["shape"][0])
    try:
        interpreter.resize_tensor_input(source["index"], [batch, *shape])
        interpreter.allocate_tensors()
        interpreter.set_tensor(source["index"], np.zeros([batch, *shape], source["dtype"]))
        interpreter.invoke()  # some shapes are known only then
    except (ValueError, RuntimeError) as e:
        raise InputError(
            f"{where} does not take items of shape {list(shape)}: {first_line(e)}.",
            "Give another size, or export the model with an input of fixed size.",
        ) from e
    sizes = {details["index"]: details["shape"].tolist() for details in interpreter.get_tensor_details()}
    for index, tensor in enumerate(graph.tensors):
        tensor.shape = sizes.get(index, tensor.shape)
        tensor.shapeSignature = None
    if fold:
        _fold_shapes(root, graph, interpreter)
    return flat.write(root)


def _fold_shapes(root: Any, graph: Any, interpreter: Any) -> None:
    """Replace what SHAPE operations lead to by constants, with the values that the interpreter computed."""
    computed = {int(i) for op in graph.operators for i in op.outputs} | {int(i) for i in graph.inputs}
    constants = {i for i, tensor in enumerate(graph.tensors) if i not in computed and not tensor.isVariable} | {-1}
    known = set[int]()
    left = []
    for op in graph.operators:
        inputs = {int(i) for i in op.inputs}
        kind = flat.kind(root, op)
        if kind in ("SHAPE", "RANK") or (inputs & known and inputs <= known | constants):
            known |= {int(i) for i in op.outputs}
        else:
            left.append(op)
    for index in sorted(known & {int(i) for op in left for i in op.inputs}):
        values = np.ascontiguousarray(interpreter.get_tensor(index))
        graph.tensors[index].buffer = flat.add_buffer(root, values)
    if not known & {int(i) for i in graph.outputs}:
        graph.operators = left
