"""What a diagnosis needs to know of a file beside its profile: its scheme, its rewrites, and what to convert again."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgepress.converters.inspection import Inspection, Node
from edgepress.converters.rewrites.table import REWRITES, Rewrite
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.targets import TARGETS
from edgepress.converters.to_tflite.graph import Graph
from edgepress.converters.to_tflite.products import is_small_product

LARGE, WIDE, PICKING, SMALL = "large", "wide", "picking", "small"
"""Marks of operations: a depthwise kernel of more taps than XNNPACK has kernels for, a concatenation of more inputs
than it takes, a pool that only leaves out values, and a 1x1 convolution too small for dynamic quantization."""
TAPS, MOST = 25, 5
"""Most taps of XNNPACK's depthwise kernels (src/configs/dwconv-config.c), and inputs of a concatenation."""
SOURCES = (".keras", ".h5", ".hdf5", ".tflite", ".onnx")
MODEL = "MODEL"
"""Stands in a command for the float model, where it is not known which file that is."""


@dataclass(frozen=True)
class About:
    """A file as a diagnosis sees it.

    Attributes:
        scheme: The scheme that it has, or that of the same kind of files.
        ours: Whether edgepress made it.
        rewrites: Names of the rewrites that it has.
        target: What it was made for.
        source: The model to convert again: its path, or `MODEL`.
        grouped: Names of its convolutions whose groups are their channels.
        marks: What is special about operations, by their name: `LARGE`, `WIDE`, `PICKING` or `SMALL`.
        signed: Whether it multiplies signed 8-bit activations.
    """

    scheme: str
    ours: bool = False
    rewrites: tuple[str, ...] = ()
    target: str = TARGETS[0]
    source: str = MODEL
    grouped: frozenset[str] = frozenset()
    marks: Mapping[str, str] = field(default_factory=dict)
    signed: bool = False

    def lacks(self, names: Sequence[str]) -> Rewrite | None:
        """The rewrite among these that files of its scheme get, best for its target; None if it has one of them."""
        rows = [r for name in names for r in REWRITES if r.name == name and self.scheme in r.schemes]
        rows.sort(key=lambda r: self.target not in r.targets)
        return None if any(r.name in self.rewrites for r in rows) else next(iter(rows), None)

    def command(self, scheme: str = "", target: str = "") -> str:
        """The command that converts its source again."""
        to = f"edgepress convert {self.source} --to {scheme or self.scheme}"
        return f"{to} --target {target}" if target and target != TARGETS[0] else to


def about(path: Path, found: Inspection) -> About:
    """What a file's content says.

    Args:
        path: The file.
        found: Its inspection.
    """
    grouped, marks = _of_tflite(path, found.nodes) if found.format == "tflite" else (_of_onnx(path), {})
    signed = any(n.macs and n.computes_in == "int8" for n in found.nodes)
    contract, scheme = found.contract, _scheme(found.format, found.nodes)
    if contract is not None and contract.scheme in SCHEMES:
        source = _source(path, contract.parent_sha256)
        known = About(contract.scheme, True, contract.rewrites, contract.target, source)
    else:
        known = About(scheme, source=str(path) if SCHEMES[scheme].is_float32 else MODEL)
    return replace(known, grouped=grouped, marks=marks, signed=signed)


def _scheme(format: str, nodes: Sequence[Node]) -> str:
    """The scheme whose files compute like these operations."""
    kinds = {n.computes_in for n in nodes if n.macs}
    running = any(n.operation in ("ConvInteger", "MatMulInteger", "DynamicQuantizeLinear") for n in nodes)
    precisions = ["dynamic"] if running or "dynamic" in kinds else []
    precisions += ["int16x8"] if "int16" in kinds else ["int8"] if kinds & {"int8", "uint8"} else []
    return next((name for p in precisions if (name := f"{format}-{p}") in SCHEMES), f"{format}-float32")


def _source(path: Path, sha256: str) -> str:
    """The model that a file was made of, if it lies beside the file or beside its folder."""
    if not sha256:
        return MODEL
    for folder in (path.parent.parent, path.parent):
        for other in sorted(folder.glob("*")):
            if other.suffix in SOURCES and other.is_file():
                with other.open("rb") as stream:
                    if hashlib.file_digest(stream, "sha256").hexdigest() == sha256:
                        return str(other)
    return MODEL


def _of_tflite(path: Path, nodes: Sequence[Node]) -> tuple[frozenset[str], dict[str, str]]:
    """Names of the convolutions whose groups are their channels, and the marks of operations."""
    graph, grouped, marks = Graph(path.read_bytes()), set(), {}
    readers = graph.readers()
    for op, node in zip(graph.operators, nodes, strict=False):  # nodes of other graphs follow
        if _is_grouped(graph, op):
            grouped.add(node.name)
        if mark := _mark(graph, op, readers.get(int(op.outputs[0]), ()) if len(op.outputs) else ()):
            marks[node.name] = mark
    return frozenset(grouped), marks


def _is_grouped(graph: Graph, op: Any) -> bool:
    if graph.kind(op) not in ("DEPTHWISE_CONV_2D", "CONV_2D") or len(op.inputs) < 2:
        return False
    data, weights = (graph.shape(int(i)) for i in op.inputs[:2])
    return len(weights) == len(data) == 4 and (graph.kind(op) == "DEPTHWISE_CONV_2D" or weights[3] == 1 < data[3])


def _mark(graph: Graph, op: Any, readers: Sequence[Any]) -> str:
    """What is special about an operation, the same that the rewrites of these cases look for; "" for nothing."""
    kind, options = graph.kind(op), op.builtinOptions
    if _is_grouped(graph, op):
        return LARGE if math.prod(graph.shape(int(op.inputs[1]))[1:3]) > TAPS else ""
    if kind == "CONCATENATION":
        return WIDE if len(op.inputs) > MOST else ""
    if kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D") and options is not None:
        one = (options.filterHeight, options.filterWidth) == (1, 1) and max(options.strideH, options.strideW) > 1
        return PICKING if one and readers and all(r is not None and _is_pointwise(graph, r) for r in readers) else ""
    return SMALL if kind == "CONV_2D" and options is not None and is_small_product(graph.root, graph.table, op) else ""


def _is_pointwise(graph: Graph, op: Any) -> bool:
    return graph.kind(op) == "CONV_2D" and graph.shape(int(op.inputs[1]))[1:3] == (1, 1)


def _of_onnx(path: Path) -> frozenset[str]:
    """Names of the convolutions in groups, and of the tensors that they make, fused operations included."""
    import onnx

    found: set[str] = set()
    for node in onnx.load(str(path), load_external_data=False).graph.node:
        if node.op_type == "Conv" and any(a.name == "group" and a.i > 1 for a in node.attribute):
            found |= {node.name, *node.output}
        elif node.op_type in FUSED and node.input and node.input[0] in found:
            found |= {*node.output}
    return frozenset(found)


FUSED = ("Add", "Mul", "Relu", "Clip", "BatchNormalization", "HardSigmoid", "Sigmoid", "QuantizeLinear")
"""Operations that ONNX Runtime fuses into the convolution before them, which is then named by what they make."""
