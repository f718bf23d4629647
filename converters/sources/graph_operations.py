"""Refuse SavedModels with operations that do more than compute: that touch files, processes or the network.

A SavedModel is a program, and loading it already runs a part of it. So `saved_model.pb` is read before TensorFlow loads
the folder, and each operation of each graph and function must be one of these:

- one that TensorFlow's registry calls stateless, that takes and returns no text, and that has no text of free choice
  among its attributes: it can name no file, no host and no function of this process;
- one of `COMPUTING`, whose state or text was looked at.

Whatever else TensorFlow has, or will have, is refused. Checkpoints are the exception, because TensorFlow writes the
operations that save and restore them into every SavedModel: see `CHECKPOINT`. What TensorFlow loads is a copy in which
those that write do nothing, and those that read have the name of their file from the loader or not at all
(`harmless`), so that it does not matter what else may run them.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from edgepress.converters.process.scratch import ScratchFolder
from edgepress.runtime.errors import ModelFileError

COMPUTING = {
    "variables": r"VarHandleOp|Variable(V2)?|VariableShape|ReadVariableOp|Assign\w*VariableOp|VarIsInitializedOp|"
    r"TemporaryVariable|DestroyTemporaryVariable|DestroyResourceOp|DisableCopyOnRead|Resource(Gather|Scatter)(Nd)?\w*|"
    r"ResourceStridedSliceAssign|Resource(Sparse)?Apply\w+",
    "control flow": r"If|While|Case|StatefulPartitionedCall|Assert|PreventGradient|CheckNumerics(V2)?|GuaranteeConst",
    "random numbers": r"RandomUniform(Int)?|RandomStandardNormal|TruncatedNormal|ParameterizedTruncatedNormal|"
    r"RandomShuffle|RandomCrop|Multinomial|RandomGamma|RandomPoisson(V2)?|RngReadAndSkip|RngSkip|NonDeterministicInts|"
    r"Stateful(Uniform|UniformInt|UniformFullInt|StandardNormal|StandardNormalV2|TruncatedNormal|RandomBinomial)|"
    r"StatelessRandomGetAlg|SampleDistortedBoundingBox(V2)?",
    "lists in memory": r"TensorArray\w*|Stack(V2|Push|PushV2|Pop|PopV2|Close|CloseV2)?|Empty|DeepCopy",
    "tables in memory": r"(Anonymous)?(Mutable|MutableDense)?HashTable(OfTensors)?(V2)?|"
    r"InitializeTable(V2)?|LookupTable(Find|Import|Export|Insert|Size|Remove)(V2)?",
    "text to text or numbers": r"AsString|StringToNumber|StringToHashBucket(Fast|Strong)?|String(Join|Split|SplitV2|"
    r"Length|Lower|Upper|Strip|Format|NGrams)|Substr|(Static)?Regex(Replace|FullMatch)|ReduceJoin|UnsortedSegmentJoin|"
    r"Unicode(Encode|Decode|DecodeWithOffsets|Transcode|Script)|Decode(Base64|Raw|PaddedRaw|CSV|Compressed)|EncodeBase64|"
    r"SparseCrossV2|Fingerprint|ParseTensor|SerializeTensor|Parse(Single)?(Sequence)?Example(V2)?",
    "pictures and sound in bytes": r"(Decode|Encode)(Png|Jpeg|Wav)|Decode(Image|Bmp|Gif|WebP|Jxl|AndCropJpeg)|"
    r"EncodeJpegVariableQuality|ExtractJpegShape",
    "summaries, which are bytes": r"(Scalar|Tensor|TensorV2|Histogram|Image|Audio|Merge)Summary(V2)?",
}
"""Operations with state or text that compute nonetheless: a pattern of their names by what they are about."""
TEXT_ATTRIBUTES = frozenset(
    {
        *("bad_indices_policy", "data_format", "dst_format", "equation", "fill_mode", "frame_name", "interpolation"),
        *("kernel_type", "noise", "padding", "row_partition_types", "set_operation", "src_format"),
        *("config", "config_proto", "executor_type"),  # of PartitionedCall
    }
)
"""Attributes of free text that name no file, host or function of the process; those with a list of values need none."""
CHECKPOINT = frozenset({"SaveV2", "RestoreV2", "ShardedFilename", "MergeV2Checkpoints"})
"""Operations of checkpoints. They may stand where nothing runs them; the loader may run the second on its own file."""
WRITING = frozenset({"SaveV2", "MergeV2Checkpoints"})
"""Those that write files; they have no outputs."""
OF_JAX = "XlaCallModule"
"""The operation that holds all of a model of JAX: a program for XLA, which may call functions of the process."""
BETTER = "better, save the model without them."
PROGRAM = "saved_model.pb"
UNNAMED = "edgepress_names_no_file"
"""The node in place of the name of a file that is not the loader's."""
CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
"""Operations whose inputs are the arguments of the function that they call, one by one."""

_COMPUTES = re.compile("|".join(COMPUTING.values()))


@contextlib.contextmanager
def harmless(path: Path) -> Iterator[Path]:
    """A SavedModel that only computes: a copy whose operations of checkpoints read what the loader names, and no more.

    Args:
        path: The folder.

    Yields:
        The folder to load; files beside the program are links to those of `path`.

    Raises:
        ModelFileError: It has operations that do more than compute, or its program can't be read.
    """
    program = read_program(path)
    for meta in program.meta_graphs:
        _disarm(meta)
    with ScratchFolder() as folder:
        copy = Path(folder, "model")
        copy.mkdir()
        (copy / PROGRAM).write_bytes(program.SerializeToString())
        for name in ("variables", "assets"):
            if (path / name).is_dir():
                _link(copy / name, path / name)
        yield copy


def _disarm(meta: Any) -> None:
    """Change a graph so that nothing writes a checkpoint, and only the loader names one that is read.

    The name that the loader gives has a default in graphs of TensorFlow 1. Without one, what reads it fails wherever
    else it runs.
    """
    restoring = _restoring(meta)
    file = meta.saver_def.filename_tensor_name.partition(":")[0]
    for scope, nodes in _scopes(meta):
        foreign = [node for node in nodes if node.op == "RestoreV2" and (scope, node.name) not in restoring]
        for node in nodes:
            if node.op in WRITING:
                _replace(node, "NoOp", *(name for name in node.input if name.startswith("^")))
            elif not scope and node.name == file:
                _replace(node, "Placeholder")
        for node in foreign:
            node.input[:1] = [f"{UNNAMED}:output:0" if scope else UNNAMED]
        if foreign:
            _replace(nodes.add(name=UNNAMED), "Placeholder")


def _replace(node: Any, operation: str, *inputs: str) -> None:
    from tensorflow.core.framework.types_pb2 import DT_STRING

    node.op = operation
    node.ClearField("attr")
    node.input[:] = inputs
    if operation == "Placeholder":
        node.attr["dtype"].type = DT_STRING


def _scopes(meta: Any) -> list[tuple[str, Any]]:
    """The nodes of a graph, under "", and those of its functions, with their names, which two may share."""
    return [("", meta.graph_def.node), *((f.signature.name, f.node_def) for f in meta.graph_def.library.function)]


def _link(link: Path, folder: Path) -> None:
    try:
        link.symlink_to(folder.resolve(), target_is_directory=True)
    except OSError:  # Windows allows links to few users
        shutil.copytree(folder, link)


def read_program(path: Path) -> Any:
    """The program of a SavedModel that only computes, a `SavedModel` of protobuf.

    Raises:
        ModelFileError: It has operations that do more, or it can't be read.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    program = SavedModel()
    try:
        program.ParseFromString((path / PROGRAM).read_bytes())
    except DecodeError as e:
        raise ModelFileError(f"{path} can't be loaded: {PROGRAM} is damaged ({e}).", "Save it again.") from e
    if unsafe := {op for meta in program.meta_graphs for op in _unsafe(meta)}:
        some = ", ".join(sorted(unsafe)[:8]) + (f" and {len(unsafe) - 8} more" if len(unsafe) > 8 else "")
        raise ModelFileError(
            f"{path} has operations that may touch files, processes or the network, or that TensorFlow does not have, "
            f"and is not loaded: {some}.",
            "If you trust the file's origin, give --trust; "
            + ("JAX saves all models so, and those with a batch of 1 convert best." if unsafe == {OF_JAX} else BETTER),
        )
    return program


def _unsafe(meta: Any) -> set[str]:
    """The operations of a graph and its functions that do more than compute."""
    functions = {function.signature.name: function for function in meta.graph_def.library.function}
    running = _running(meta, functions)
    restoring = _restoring(meta)
    by_loader = _running(meta, functions, meta.saver_def.restore_op_name)
    unsafe = set()
    for scope, nodes in _scopes(meta):
        for node in nodes:
            places = {(scope, node.name), (scope, "")}
            restores = node.op == "RestoreV2" and (scope, node.name) in restoring
            unused = places.isdisjoint(running if restores else by_loader)
            calls = node.op in functions and not _describe_operation(node.op)
            if not (calls or (node.op in CHECKPOINT and unused) or _computes(node.op)):
                unsafe.add(node.op)
    return unsafe


def _describe_operation(name: str) -> Any:
    """TensorFlow's own description of an operation; None if it has none of that name."""
    from tensorflow.python.framework import op_def_registry

    return op_def_registry.get(name)


def _computes(name: str) -> bool:
    """Whether an operation does nothing else than compute; see the head of this module."""
    from tensorflow.core.framework import types_pb2

    operation = _describe_operation(name)
    if operation is None or name.startswith("_"):  # the latter are TensorFlow's own, made while it runs a graph
        return False
    if _COMPUTES.fullmatch(name):
        return True
    texts = [end for end in (*operation.input_arg, *operation.output_arg) if end.type == types_pb2.DT_STRING]
    free = [
        attribute.name
        for attribute in operation.attr
        if attribute.type in ("string", "list(string)") and not attribute.allowed_values.list.s
    ]
    return not (operation.is_stateful or texts or {*free} - TEXT_ATTRIBUTES)


def _running(meta: Any, functions: Mapping[str, Any], *also: str) -> set[tuple[str, str]]:
    """What a loader or a caller can run: nodes as ("", name), functions as (name, "").

    That is what signatures, collections (which name initializers and variables) and the nodes `also` need, and the
    functions that objects of Python become. What only saves or restores is not among it.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.framework.variable_pb2 import VariableDef

    named = [info.name for one in meta.signature_def.values() for info in (*one.inputs.values(), *one.outputs.values())]
    named += also
    for collection in meta.collection_def.values():
        named += collection.node_list.value
        for value in collection.bytes_list.value:
            with contextlib.suppress(DecodeError):  # of another kind, such as a saver
                variable = VariableDef.FromString(value)
                named += [variable.variable_name, variable.initializer_name]
                named += [variable.snapshot_name, variable.initial_value_name]
    nodes = {node.name: node for node in meta.graph_def.node}
    named += [f"{name}/Read/ReadVariableOp" for name, node in nodes.items() if node.op == "VarHandleOp"]  # when frozen
    needed = _find_needed(named, nodes)
    called = _find_called((nodes[name] for name in needed), functions, _of_objects(meta))
    return {("", name) for name in needed} | {(name, "") for name in called}


def _of_objects(meta: Any) -> list[str]:
    """The functions that others than nodes call."""
    library = meta.graph_def.library
    gradients = [each.gradient_func for each in (*library.gradient, *library.registered_gradients)]
    swapped = [f.signature.name for f in library.function if "api_implements" in f.attr]  # by Grappler
    objects = meta.object_graph_def
    named = [name for node in objects.nodes for name in node.function.concrete_functions]
    named += [node.bare_concrete_function.concrete_function_name for node in objects.nodes]
    return [*objects.concrete_functions, *named, *gradients, *swapped]


def _restoring(meta: Any) -> set[tuple[str, str]]:
    """The nodes that read the file which a loader names: directly, or as an argument of a function with one caller.

    Another caller could name another file.
    """
    saver = meta.saver_def
    name, _, number = saver.filename_tensor_name.partition(":")
    if number != "0":  # the node that `_disarm` puts there has one output
        return set()
    reading = {("", node.name) for node in meta.graph_def.node if _reads(node, name)}
    calls = [(each, scope, node) for scope, nodes in _scopes(meta) for node in nodes for each in _names(node)]
    library = meta.graph_def.library.function
    names = [*(function.signature.name for function in library), *_of_objects(meta)]
    for function in library:
        own = function.signature.name
        arguments = function.signature.input_arg
        callers = [(scope, node) for each, scope, node in calls if each == own]
        single = all(not (a.number_attr or a.type_list_attr) for a in arguments)  # one input each
        if len(callers) != 1 or names.count(own) != 1 or not single:
            continue
        ((scope, caller),) = callers
        for argument, value in zip(arguments, caller.input, strict=False):
            if not scope and caller.op in CALLS and value in (name, f"{name}:0"):
                reading |= {(own, inner.name) for inner in function.node_def if _reads(inner, argument.name)}
    return reading


def _reads(node: Any, name: str) -> bool:
    return bool(node.input) and node.input[0] in (name, f"{name}:0")


def _find_needed(names: Iterable[str], nodes: Mapping[str, Any]) -> set[str]:
    """The nodes that run when these tensors or nodes are computed."""
    needed: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop().lstrip("^").partition(":")[0]
        if name in nodes and name not in needed:
            needed.add(name)
            waiting += nodes[name].input
    return needed


def _find_called(nodes: Iterable[Any], functions: Mapping[str, Any], also: Iterable[str] = ()) -> set[str]:
    """The functions that nodes call, and those that these call; `also` are called, too."""
    called: set[str] = set()
    waiting = [name for node in nodes for name in _names(node)] + list(also)
    while waiting:
        name = waiting.pop()
        if name in functions and name not in called:
            called.add(name)
            waiting += [each for node in functions[name].node_def for each in _names(node)]
    return called


def _names(node: Any) -> list[str]:
    """The functions that a node may call: the operation itself can be one."""
    named = [node.op]
    waiting = [*node.attr.values()]
    while waiting:  # attributes of a function that is called may name others, which it then calls
        value = waiting.pop()
        for function in (value.func, *value.list.func):
            named.append(function.name)
            waiting += function.attr.values()
    return named
