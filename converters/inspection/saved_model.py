"""Reading a TensorFlow SavedModel folder: its serving signature as one frozen graph, batch 1.

TensorFlow itself is needed to read it, and runs what the model does when it is loaded (it makes variables and tables).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgepress.converters.inspection import graph as g
from edgepress.converters.inspection import macs
from edgepress.converters.inspection.report import Engine, Inspection, Port, Weight, describe, file_size
from edgepress.runtime.errors import ModelFileError

GRAPH = "saved_model.pb"
SERVING = "serving_default"
SKIPPED = ("Identity", "NoOp", "Placeholder")


def read(path: Path) -> Inspection:
    """What a SavedModel folder holds.

    Raises:
        ModelFileError: It is no SavedModel, damaged, or has no signature.
    """
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(path))
    except MemoryError:
        raise
    except Exception as e:  # TensorFlow's errors, and OSError, ValueError, KeyError and others
        reason = str(e).strip().partition("\n")[0]
        raise ModelFileError(f"TensorFlow can't load {path}: {reason}", "Copy or save it again.") from e
    signatures = loaded.signatures
    name = SERVING if SERVING in signatures else next(iter(signatures), "")
    if not name:
        raise ModelFileError(f"{path} has no signature.", "Save it with one: model.export(folder) of Keras does.")
    graph, weights = _graph(signatures[name])
    others = sorted({*signatures} - {name})
    found = describe(graph, conversions=("Cast", "QuantizeV2", "Dequantize"))
    found["notes"] += (f"Signature {name}" + (f"; also there: {', '.join(others)}." if others else "."),)
    inputs, outputs = (
        _ports(ends) for ends in (signatures[name].structured_input_signature[1], signatures[name].structured_outputs)
    )
    return Inspection(
        file=str(path),
        format="saved_model",
        size_bytes=file_size(path),
        producer=f"tensorflow {getattr(loaded, 'tensorflow_version', '')}".strip(),
        inputs=inputs,
        outputs=outputs,
        weights_bytes=sum(w.size_bytes for w in weights),
        weights=tuple(sorted(weights, key=lambda w: -w.size_bytes)),
        engine=Engine(name=f"tensorflow {tf.__version__}", opens=True),
        **found,
    )


def _graph(signature: Any) -> tuple[g.Graph, list[Weight]]:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    specs = {
        name: tf.TensorSpec([1 if n is None else n for n in spec.shape], spec.dtype, name=name)
        for name, spec in signature.structured_input_signature[1].items()
    }
    function = tf.function(lambda **given: signature(**given), autograph=False).get_concrete_function(**specs)
    frozen = convert_variables_to_constants_v2(function)
    alias: dict[str, str] = {}
    values: dict[str, g.Value] = {}
    steps: list[g.Step] = []
    weights = [_weight(v.name, v.shape, v.dtype) for v in signature.variables]
    from_variables = bool(weights)  # else the constants of the graph are what it knows
    for op in frozen.graph.get_operations():
        for tensor in op.outputs:
            known = tensor.shape.rank is not None and all(n is not None for n in tensor.shape)
            shape = tuple(int(n) for n in tensor.shape) if known else None
            values[tensor.name] = g.Value(shape, tensor.dtype.base_dtype.name, constant=op.type == "Const")
        if op.type == "Const":
            if values[op.outputs[0].name].real and not from_variables:
                weights.append(_weight(op.name, op.outputs[0].shape, op.outputs[0].dtype))
        elif op.type == "Identity":
            alias[op.outputs[0].name] = alias.get(op.inputs[0].name, op.inputs[0].name)
        elif op.type not in SKIPPED:
            read = tuple(alias.get(t.name, t.name) for t in op.inputs)
            made = values[op.outputs[0].name] if op.outputs else None
            count = macs.count(macs.TENSORFLOW, op.type, [values.get(name) for name in read], made)
            outputs = tuple(t.name for t in op.outputs)
            steps.append(g.Step(op.type, op.name, read, outputs, macs=count, index=len(steps)))
    ends = [alias.get(t.name, t.name) for t in frozen.outputs]
    return g.Graph(tuple(steps), values, tuple(t.name for t in frozen.inputs), tuple(ends)), weights


def _weight(name: str, shape: Any, dtype: Any) -> Weight:
    value = g.Value(tuple(int(n) for n in shape), str(dtype.base_dtype.name if hasattr(dtype, "base_dtype") else dtype))
    return Weight(name=name, shape=value.shape or (), dtype=value.dtype, size_bytes=value.size_bytes or 0)


def _ports(ends: Any) -> tuple[Port, ...]:
    return tuple(
        Port(
            name=name,
            shape=None if spec.shape.rank is None else tuple(spec.shape.as_list()),
            dtype=spec.dtype.base_dtype.name,
        )
        for name, spec in ends.items()
    )
