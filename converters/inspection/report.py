"""The results of an inspection, as frozen dataclasses that become one JSON document."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepress.converters.contract.hints import Size, fixed_shapes
from edgepress.converters.contract.metadata import Metadata
from edgepress.converters.inspection import graph as g
from edgepress.converters.inspection.versions import engine_name, installed_version, package_of, version_of
from edgepress.runtime.contract import Contract

FLOAT_WORK = (*g.FLOATS, "dynamic")
INTEGER_WORK = ("int8", "uint8", "int16", "int4")


@dataclass(frozen=True, kw_only=True)
class Port:
    """An input or output of a model.

    Attributes:
        name: Its name in the file.
        shape: Its shape; None stands for a free dimension, and a shape of None is unknown.
        dtype: Type of its elements.
        scale: Real value = scale * (stored value - zero_point); None if it is not quantized.
        zero_point: See `scale`.
    """

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True, kw_only=True)
class Node:
    """One operation of the graph, or one layer of a Keras model.

    Attributes:
        operation: Its kind: "CONV_2D", "Conv", "Conv2D".
        name: Name of its layer or output tensor.
        version: Version of the operation, where the format has one.
        data_types: Types of its data, weights and result: "int8 x int8 -> int8"; "" if they are not known.
        computes_in: "float32", "float16", "int8", "uint8", "int16"; "dynamic" (float, quantized while running);
            "conversion" (from one type to another); "constant" (does not depend on the input); "other" (shapes); "" if
            that is not known.
        parameters: Elements of its weights, biases and other real constants; None if unknown.
        macs: Multiply-accumulates for one item; None if they can't be counted.
        delegated: Whether the CPU delegate takes it; None if unknown.
        becomes: What the CPU delegate makes of it, if it is part of a float island between 8-bit operations: "look-up
            table", or "float kernel" where a rewrite chose one.
    """

    operation: str
    name: str
    version: int | None = None
    data_types: str = ""
    computes_in: str = ""
    parameters: int | None = None
    macs: int | None = None
    delegated: bool | None = None
    becomes: str = ""


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A constant in the file."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class EngineCheck:
    """The result of opening the file in this machine's engine.

    Attributes:
        name: "litert", "onnxruntime" or "keras", with its version.
        opens: Whether the engine opens the file.
        error: Why not.
        delegate: The CPU delegate that takes operations ("XNNPACK"), empty if the engine has none.
        partitions: Number of separate parts that the delegate takes; each costs a hand-over.
        arena_bytes: Memory for tensors and its own records; None if the engine does not say.
    """

    name: str
    opens: bool
    error: str = ""
    delegate: str = ""
    partitions: int = 0
    arena_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """The oldest releases that run the file.

    Attributes:
        releases: Release by name: "tensorflow_lite", "tflite_runtime", "ai_edge_litert" or "onnxruntime"; None if no
            known release does.
        because: Operations and versions that require them.
        unknown: Operations and operator sets of which no release is known.
    """

    releases: Mapping[str, str | None]
    because: tuple[str, ...]
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """The description of a model file.

    Attributes:
        file: Its path.
        format: "tflite", "onnx", "keras", "h5" or "saved_model".
        size_bytes: Size of the file, or of all files of the folder.
        producer: Program that wrote it, if known.
        contract: Its contract; None for a file that edgepress did not make.
        metadata: Labels, colour and normalization that other tools wrote into it; empty if there are none.
        inputs: Its inputs.
        outputs: Its outputs.
        nodes: Its operations or layers in the order in which they run.
        peak_activation_bytes: By `graph.MEMORY_MODEL`; None if a shape is unknown.
        peak_node: Name of the node at which it is reached.
        unpacked_weights_bytes: Memory for float weights that the engine unpacks from smaller ones.
        metadata_bytes: Bytes that are labels, contract and other metadata.
        weights: The constants, largest first.
        custom_operations: Operations that no engine has built in.
        flex_operations: Operations of full TensorFlow that a TFLite file needs.
        runtime: The oldest releases that run it; None if unknown.
        engine: The result of opening it; None if it was not opened.
        microcontroller: The result of opening a TFLite file in tflite-micro; None if that is not installed.
        notes: Other remarks for the user.
    """

    file: str
    format: str
    size_bytes: int
    producer: str = ""
    contract: Contract | None = None
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    nodes: tuple[Node, ...] = ()
    peak_activation_bytes: int | None = None
    peak_node: str = ""
    unpacked_weights_bytes: int = 0
    metadata_bytes: int = 0
    weights: tuple[Weight, ...] = ()
    custom_operations: tuple[str, ...] = ()
    flex_operations: tuple[str, ...] = ()
    runtime: Runtime | None = None
    engine: EngineCheck | None = None
    microcontroller: EngineCheck | None = None
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Inspection({self.file}: {self.format}, {self.size_bytes} bytes, {len(self.nodes)} operations)"

    @property
    def weights_bytes(self) -> int:
        """Bytes of the file that are constants."""
        return sum(w.size_bytes for w in self.weights)

    @property
    def rest_bytes(self) -> int:
        """Bytes of the file that are neither weights nor metadata."""
        return self.size_bytes - self.weights_bytes - self.metadata_bytes

    @property
    def parameters(self) -> int:
        """Parameters of the whole model."""
        counted = total(n.parameters for n in self.nodes) if self.nodes else None
        return sum(math.prod(w.shape) for w in self.weights) if counted is None else counted

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one item, over all operations that can be counted."""
        return sum(n.macs or 0 for n in self.nodes)

    @property
    def macs_not_counted(self) -> tuple[str, ...]:
        """Kinds of operations that multiply and could not be counted."""
        return tuple(dict.fromkeys(n.operation for n in self.nodes if n.macs is None))

    @property
    def still_float(self) -> tuple[str, ...]:
        """Names of nodes that compute in float while others compute in integers, other than `islands`."""
        if not any(n.computes_in in INTEGER_WORK for n in self.nodes):
            return ()
        floats = (n for n in self.nodes if n.computes_in in FLOAT_WORK and not n.becomes)
        return tuple(f"{n.operation} {n.name}".strip() for n in floats)

    @property
    def islands(self) -> dict[str, dict[str, int]]:
        """What float islands become, and how many operations of each kind; without their conversions."""
        by_kind: dict[str, Counter[str]] = {}
        for node in self.nodes:
            if node.becomes and node.computes_in in FLOAT_WORK:
                by_kind.setdefault(node.becomes, Counter())[node.operation] += 1
        return {name: dict(kinds.most_common()) for name, kinds in sorted(by_kind.items(), reverse=True)}

    def replace(self, **changes: Any) -> Inspection:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def opened(self, **fields: Any) -> Inspection:
        """A copy that says that this machine's engine opens the file; `fields` are other fields of `EngineCheck`."""
        return self.replace(engine=EngineCheck(**{"name": engine_name(self.format), "opens": True, **fields}))

    def refused(self, error: str) -> Inspection:
        """A copy that says that this machine's engine does not open the file, and why.

        Then the table of releases is not trusted, unless it names a newer release than this engine, which is too old.
        """
        name = engine_name(self.format)
        runtime = self.runtime
        oldest = runtime.releases.get(package_of(self.format).replace("-", "_")) if runtime else None
        if runtime and oldest and version_of(installed_version(self.format)) >= version_of(oldest):
            unknown = (*runtime.unknown, f"{name}, which should open it, does not")
            runtime = Runtime(releases=dict.fromkeys(runtime.releases), because=(), unknown=unknown)
        return self.replace(engine=EngineCheck(name=name, opens=False, error=error), runtime=runtime)

    def operations(self) -> list[dict[str, Any]]:
        """Nodes of the same operation, version and data types together, those that multiply most first."""
        groups: dict[tuple[Any, ...], list[Node]] = {}
        for node in self.nodes:
            key = (node.operation, node.version, node.data_types, node.computes_in, node.becomes)
            groups.setdefault(key, []).append(node)
        rows = [
            {
                "operation": operation,
                "version": version,
                "data_types": types,
                "computes_in": kind,
                "becomes": becomes,
                "count": len(nodes),
                "parameters": total(n.parameters for n in nodes),
                "macs": total(n.macs for n in nodes),
                "delegated": None if nodes[0].delegated is None else sum(bool(n.delegated) for n in nodes),
            }
            for (operation, version, types, kind, becomes), nodes in groups.items()
        ]
        return sorted(rows, key=lambda row: (-(row["macs"] or 0), -(row["parameters"] or 0)))

    def as_dict(self) -> dict[str, Any]:
        """The JSON document of `edgepress inspect --json`."""
        plain: dict[str, Any] = _plain(self)
        derived = {
            "operations": self.operations(),
            "parameters": self.parameters,
            "macs": self.macs,
            "macs_not_counted": list(self.macs_not_counted),
            "still_float": list(self.still_float),
            "islands": self.islands,
            "weights_bytes": self.weights_bytes,
            "rest_bytes": self.rest_bytes,
            "memory_model": g.MEMORY_MODEL,
        }
        first = ("file", "format", "size_bytes", "producer", "contract", "metadata", "inputs", "outputs")
        return {k: plain.pop(k) for k in first} | derived | plain


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, str):  # half of a surrogate pair, from JSON in a file, can't be written as UTF-8
        return value.encode(errors="replace").decode()
    if isinstance(value, float):  # JSON has no NaN, and a damaged file may
        return value if math.isfinite(value) else None
    return [_plain(v) for v in value] if isinstance(value, (tuple, list)) else value


def total(counts: Iterable[int | None]) -> int | None:
    """The sum of counts; None if one is not known."""
    known = list(counts)
    return None if None in known else sum(filter(None, known))


def metadata_dict(metadata: Metadata) -> dict[str, Any]:
    """Metadata that other tools wrote into a file, without empty fields."""
    return {k: v for k, v in dataclasses.asdict(metadata).items() if v}


def with_size(ports: Iterable[Port], size: Size | None, where: str) -> list[Port]:
    """Inputs with their free sizes, but not their batch, fixed to `size`; unchanged if it is None.

    Raises:
        InputError: `size` does not fit one of them.
    """
    known = [port for port in ports if port.shape]
    if size is None or not known:
        return list(ports)
    shapes = fixed_shapes([(port.shape or ())[1:] for port in known], size, where)
    fixed = {port.name: (*(port.shape or ())[:1], *shape) for port, shape in zip(known, shapes, strict=True)}
    return [dataclasses.replace(port, shape=fixed.get(port.name, port.shape)) for port in ports]


def file_size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return path.stat().st_size if path.is_file() else sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
