"""Read a TensorFlow SavedModel folder: its serving signature as one frozen graph, batch 1.

TensorFlow is needed to read it, and runs code of the model to load it (which creates variables and tables). The bodies
of loops, branches and calls are not inspected.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgepress.converters.contract.hints import Size
from edgepress.converters.inspection import graph as g
from edgepress.converters.inspection.describe import describe
from edgepress.converters.inspection.report import Inspection, Port, Weight, file_size, with_size
from edgepress.converters.numeric import macs
from edgepress.converters.sources.saved_model import Signature, serving_signature
from edgepress.runtime.errors import ModelFileError, first_line

SKIPPED = ("Identity", "NoOp", "Placeholder")


def read(path: Path, size: Size | None = None, *, trust: bool = False) -> Inspection:
    """Describe a SavedModel folder, for inputs of `size` if they leave sizes free; `trust` as for `serving_signature`.

    Raises:
        ModelFileError: It is not a SavedModel, is damaged, has no serving signature, can't be traced, or may not be run
            without `trust`.
        InputError: `size` does not fit its inputs.
    """
    signature = serving_signature(path, trust=trust)
    inputs = with_size(_ports(signature.inputs), size, str(path))
    try:
        frozen, variable_names = _freeze(signature, inputs)
    except MemoryError:
        raise
    except Exception as e:  # TensorFlow's errors, and ValueError, TypeError and others of the functions in it
        message = f"TensorFlow can't trace {path}, signature {signature.name}: {first_line(e)}"
        free = size is None and any(None in (port.shape or ())[1:] for port in inputs)
        hint = "Fix its free sizes with --size." if free else "Save it again with model.export of Keras."
        raise ModelFileError(message, hint) from e
    graph, weights = _graph(frozen, variable_names, signature.variables)
    figures = describe(graph, conversions=("Cast", "QuantizeV2", "Dequantize"), items=g.fixed_batch(graph))
    others = f"; other signatures: {', '.join(signature.others)}." if signature.others else "."
    figures["notes"] += (f"Signature {signature.name}{others}", *signature.notes)
    bodies = dict.fromkeys(op.type for op in frozen.graph.get_operations() if _calls_functions(op))
    figures["notes"] += tuple(f"Not inspected: the bodies of {kind}." for kind in bodies)
    return Inspection(
        file=str(path),
        format="saved_model",
        size_bytes=file_size(path),
        producer=f"tensorflow {signature.producer}".strip(),
        inputs=tuple(inputs),
        outputs=_ports(signature.outputs),
        weights=tuple(sorted(weights, key=lambda w: -w.size_bytes)),
        **figures,
    ).opened()


def _freeze(signature: Signature, inputs: Sequence[Port]) -> tuple[Any, set[str]]:
    """A signature for one item with its variables as constants, and the names of these constants."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    specs = {}
    for port in inputs:
        shape = None if port.shape is None else [1 if n is None else n for n in port.shape]
        specs[port.name] = tf.TensorSpec(shape, port.dtype, name=port.name)
    function = tf.function(lambda **inputs: signature.call(**inputs), autograph=False).get_concrete_function(**specs)
    # Lowering control flow would turn a loop into a cycle of operations, in which no value counts as a constant.
    frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
    return frozen, {inner.name for _, inner in function.graph.captures}


def _graph(frozen: Any, variable_names: set[str], variables: Sequence[Any]) -> tuple[g.InspectedGraph, list[Weight]]:
    """The graph, and its weights: the variables or, if there are none, the constants of real numbers.

    Args:
        frozen: The frozen function.
        variable_names: Names of the tensors through which the function reads variables.
        variables: The variables that the signature reads.
    """
    alias: dict[str, str] = {}
    values: dict[str, g.Value] = {}
    steps: list[g.InspectedStep] = []
    weights = [
        _weight(v.name, v.shape if v.shape.is_fully_defined() else v.read_value().shape, v.dtype) for v in variables
    ]
    for op in frozen.graph.get_operations():
        for tensor in op.outputs:
            known = tensor.shape.rank is not None and all(n is not None for n in tensor.shape)
            shape = tuple(int(n) for n in tensor.shape) if known else None
            values[tensor.name] = g.Value(shape, tensor.dtype.base_dtype.name, constant=op.type == "Const")
        if op.type == "Const":
            if values[op.outputs[0].name].real and not variables:
                weights.append(_weight(op.name, op.outputs[0].shape, op.outputs[0].dtype))
        elif op.type == "Identity":
            alias[op.outputs[0].name] = alias.get(op.inputs[0].name, op.inputs[0].name)
        elif op.type not in SKIPPED:
            read = tuple(alias.get(t.name, t.name) for t in op.inputs)
            outputs = tuple(t.name for t in op.outputs)
            steps.append(
                g.InspectedStep(op.type, op.name, read, outputs, macs=_macs(op, read, values), index=len(steps))
            )
    outputs_of_graph = [alias.get(t.name, t.name) for t in frozen.outputs]
    graph = g.InspectedGraph(tuple(steps), values, tuple(t.name for t in frozen.inputs), tuple(outputs_of_graph))
    return (_with_variables_as_weights(graph, variable_names) if variables else graph), weights


def _macs(op: Any, read: Sequence[str], values: Mapping[str, g.Value]) -> int | None:
    if _calls_functions(op):
        return None
    shapes = [g.shape_of(values.get(name)) for name in read]
    attributes = op.node_def.attr
    if shapes and any(name in attributes and attributes[name].b for name in ("transpose_a", "adj_x")):
        shapes[0] = macs.transpose_shape(shapes[0])
    return macs.count(macs.TENSORFLOW, op.type, shapes, values[op.outputs[0].name].shape if op.outputs else None)


def _calls_functions(op: Any) -> bool:
    """Whether an operation runs functions: control flow, and calls that could not be resolved."""
    return any(a.HasField("func") or a.list.func for a in op.node_def.attr.values())


def _with_variables_as_weights(graph: g.InspectedGraph, variable_names: set[str]) -> g.InspectedGraph:
    """The graph whose steps have only variables, and what is computed from them and constants, as weights.

    Constants alone, such as the zeros that a loop starts with, are not weights.
    """
    known = g.known_beforehand(graph)
    from_variables = set(variable_names)
    steps = []
    for step in graph.steps:
        if not from_variables.isdisjoint(step.inputs) and known.issuperset(step.inputs):
            from_variables.update(step.outputs)
        steps.append(
            dataclasses.replace(step, weights=tuple(i for i, n in enumerate(step.inputs) if n in from_variables))
        )
    return dataclasses.replace(graph, steps=tuple(steps))


def _weight(name: str, shape: Any, dtype: Any) -> Weight:
    value = g.Value(tuple(int(n) for n in shape), str(dtype.base_dtype.name if hasattr(dtype, "base_dtype") else dtype))
    return Weight(name=name, shape=value.shape or (), dtype=value.dtype, size_bytes=value.size_bytes or 0)


def _ports(specs: Any) -> tuple[Port, ...]:
    return tuple(
        Port(
            name=name,
            shape=None if spec.shape.rank is None else tuple(spec.shape.as_list()),
            dtype=spec.dtype.base_dtype.name,
        )
        for name, spec in specs.items()
    )
