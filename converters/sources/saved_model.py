"""SavedModel folders: the serving signature as a function.

A SavedModel is a program that TensorFlow runs. It is opened in a child process with limits. One whose operations may
touch files, processes or the network is refused before it is loaded, unless the user trusts it (`graph_operations`).

TensorFlow 2 can't load some SavedModels, such as those with several graphs, or with objects that it no longer has (the
state of an old optimizer). The loader of TensorFlow 1 reads the graph alone and opens them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepress.converters.adapter import chosen_output
from edgepress.converters.contract.hints import SourceInput
from edgepress.converters.contract.kinds import other_ends, refuse_types, source_inputs
from edgepress.converters.sources.graph_operations import harmless
from edgepress.runtime.errors import ModelFileError, first_line

SIGNATURES = ("serving_default", "serve")


@dataclass(frozen=True)
class Signature:
    """A signature of a SavedModel.

    Attributes:
        name: Its name.
        others: Names of the other signatures.
        inputs: A `TensorSpec` for each input.
        outputs: The same for the outputs.
        call: Maps tensors by the names of the inputs to tensors by the names of the outputs.
        variables: The variables it reads; none if they became constants.
        producer: Version of TensorFlow that wrote it, "" if unknown.
        notes: Remarks for the user.
    """

    name: str
    others: tuple[str, ...]
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    call: Callable[..., Mapping[str, Any]]
    variables: tuple[Any, ...] = ()
    producer: str = ""
    notes: tuple[str, ...] = ()


def serving_signature(path: Path, *, trust: bool = False) -> Signature:
    """The signature that serves: one of `SIGNATURES`, or the only one.

    Args:
        path: The folder.
        trust: Whether it may have operations that do more than compute.

    Raises:
        ModelFileError: The SavedModel can't be loaded, has no such signature, changes variables, or may not
            be run without `trust`.
    """
    _require_files(path)
    with nullcontext(path) if trust else harmless(path) as folder:
        return _load_signature(path, folder)


def _require_files(path: Path) -> None:
    """Raise `ModelFileError` if a SavedModel holds a pipe or a device: TensorFlow would wait for it, or never end."""
    read = [*path.glob("*"), *(file for name in ("variables", "assets") for file in (path / name).rglob("*"))]
    for file in sorted(read):
        if file.exists() and not (file.is_file() or file.is_dir()):
            problem = f"{path} can't be loaded: {file} is a pipe, a socket or a device, not a regular file."
            raise ModelFileError(problem, "Copy or make the folder again.")


def _load_signature(path: Path, folder: Path) -> Signature:
    """The signature of a SavedModel that lies in a folder; errors name `path`."""
    import tensorflow as tf

    try:
        model = tf.saved_model.load(str(folder))
    except MemoryError:
        raise
    except Exception as e:  # TensorFlow's errors, and OSError, ValueError, KeyError, AttributeError and others
        why = first_line(e).replace(str(folder), str(path))
        return _by_tensorflow_1(path, folder, f"TensorFlow 2 can't load it ({why})")
    if hasattr(model, "prune"):  # only what comes from TensorFlow 1 has it; freezing ignores its variables
        return _by_tensorflow_1(path, folder, "It is a SavedModel of TensorFlow 1")
    name, others = _choose_signature(path, list(model.signatures))
    signature = model.signatures[name]

    def call(**tensors: Any) -> Mapping[str, Any]:
        assert model is not None  # keeps the variables alive
        outputs: Mapping[str, Any] = signature(**tensors)
        return outputs

    # TensorFlow takes their order from a set: each process would have another one.
    inputs = dict(sorted(signature.structured_input_signature[1].items()))
    outputs = dict(sorted(signature.structured_outputs.items()))
    producer = str(getattr(model, "tensorflow_version", ""))
    _refuse_state(path, signature.graph.as_graph_def())
    return Signature(name, others, inputs, outputs, call, tuple(signature.variables), producer)


def _refuse_state(path: Path, definition: Any) -> None:
    """Raise `ModelFileError` if a graph or a function that it calls changes variables: they can't become constants."""
    nodes = [*definition.node, *(node for function in definition.library.function for node in function.node_def)]
    if writes := [node.name for node in nodes if re.fullmatch(r"Assign\w*VariableOp", node.op)]:
        more = f" and {len(writes) - 1} more" if len(writes) > 1 else ""
        raise ModelFileError(
            f"{path} changes variables in each call ({writes[0]}{more}); in a converted file, they are constants.",
            "Keras' model.export() keeps layers for augmentation, which draw random numbers: give the .keras file, or "
            "export the model without them.",
        )


def _by_tensorflow_1(path: Path, folder: Path, reason: str) -> Signature:
    """The signature as the loader of TensorFlow 1 opens it, with its variables as constants.

    Args:
        path: The folder that the user named.
        folder: The one to load.
        reason: Why TensorFlow 2 does not open it.
    """
    import tensorflow as tf

    v1 = tf.compat.v1
    level = v1.logging.get_verbosity()
    v1.logging.set_verbosity(v1.logging.ERROR)  # every function used here warns that it is of TensorFlow 1
    try:
        with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
            loaded = v1.saved_model.loader.load(session, [tf.saved_model.SERVING], str(folder))
            signatures = {name: one for name, one in loaded.signature_def.items() if one.inputs and one.outputs}
            name, others = _choose_signature(path, list(signatures))
            ends = [
                {key: graph.get_tensor_by_name(info.name) for key, info in sorted(side.items())}
                for side in (signatures[name].inputs, signatures[name].outputs)
            ]
            sources, sinks = ({key: tensor.name for key, tensor in end.items()} for end in ends)
            inputs, outputs = ({k: tf.TensorSpec(t.shape, t.dtype) for k, t in end.items()} for end in ends)
            definition = v1.graph_util.convert_variables_to_constants(
                session, graph.as_graph_def(), [tensor.op.name for tensor in ends[1].values()]
            )
    except (MemoryError, ModelFileError):
        raise
    except Exception as e:  # as above: what TensorFlow 2 said is about the file as it is
        raise ModelFileError(
            f"{path} can't be loaded: {reason}; {first_line(e).replace(str(folder), str(path))}", "Save it again."
        ) from e
    finally:
        v1.logging.set_verbosity(level)

    def call(**tensors: Any) -> Mapping[str, Any]:
        arguments = {sources[key]: value for key, value in tensors.items()}
        imported = tf.import_graph_def(definition, input_map=arguments, return_elements=list(sinks.values()), name="")
        return dict(zip(sinks, imported, strict=True))

    # Imported into a function, the functions it calls are not found when it runs; imported here, they are.
    tf.import_graph_def(v1.GraphDef(library=definition.library, versions=definition.versions), name="")
    note = f"{reason}: it was opened by the loader of TensorFlow 1"
    version = loaded.meta_info_def.tensorflow_version
    return Signature(name, others, inputs, outputs, call, producer=version, notes=(note,))


def _choose_signature(path: Path, names: list[str]) -> tuple[str, tuple[str, ...]]:
    """The name of the signature that serves, and the other names."""
    name = next((n for n in SIGNATURES if n in names), names[0] if len(names) == 1 else None)
    if name is None:
        raise ModelFileError(
            f"{path} has no serving signature; found: {', '.join(sorted(names)) or 'none'}.",
            f"Export it with the signature {SIGNATURES[0]}, as keras' model.export does.",
        )
    return name, tuple(sorted({*names} - {name}))


@dataclass(frozen=True)
class Function:
    """A signature as a function of a tensor for each input to one.

    Attributes:
        infer: The function.
        batch: The batch that it takes, None for any.
        shape: Shape of one item of its first input; None for sizes that are free.
        declared: Shape of the output with its batch, likewise.
        dtype: Type of the inputs.
        inputs: The inputs, if they are several.
    """

    infer: Callable[..., Any]
    batch: int | None
    shape: tuple[Any, ...]
    declared: tuple[Any, ...]
    dtype: str
    inputs: tuple[SourceInput, ...] = ()


def function_of(path: Path, signature: Signature, output: str = "") -> Function:
    """A signature as a function, to `output` if there are several.

    Raises:
        ModelFileError: It has not one output, or several inputs that can't be taken.
    """
    inputs = signature.inputs
    outputs = signature.outputs
    chosen = chosen_output(str(path), {name: spec.dtype.is_floating for name, spec in outputs.items()}, output)
    outputs = outputs if chosen is None else {chosen: outputs[chosen]}
    shapes: list[list[Any]] = [
        [s.shape.as_list() if s.shape.rank is not None else [] for s in ends.values()] for ends in (inputs, outputs)
    ]
    if not inputs or len(outputs) != 1 or not shapes[0][0]:
        raise other_ends(path, *shapes, names=list(outputs))
    batch, *shape = shapes[0][0]
    if batch not in (None, 1):
        raise ModelFileError(
            f"{path} takes {batch} items at once.", "Export it with a batch of 1 or a free one (None)."
        )
    several = source_inputs(path, list(inputs), shapes[0])
    types = [spec.dtype.name for spec in inputs.values()]
    if several:
        refuse_types(path, list(inputs), types)
    (sink,) = outputs

    def infer(*tensors: Any) -> Any:
        return signature.call(**dict(zip(inputs, tensors, strict=True)))[sink]

    return Function(infer, batch, tuple(shape), tuple(shapes[1][0]), types[0], several)
