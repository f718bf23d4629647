"""What a diagnosis needs to know of a file beside its profile: its scheme, its rewrites, and what to convert again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgepress.converters.annotation import scheme_of
from edgepress.converters.files import sha256_of_file
from edgepress.converters.inspection import Inspection, Node
from edgepress.converters.rewrites.table import REWRITES, Rewrite
from edgepress.converters.rewrites.tflite.depthwise import TILES
from edgepress.converters.rewrites.tflite.folding import find_fold_pool
from edgepress.converters.rewrites.tflite.operations import find_concat_tree
from edgepress.converters.schemes import SCHEMES, TARGETS
from edgepress.converters.to_tflite.float_layers import is_small_product
from edgepress.converters.to_tflite.graph import Graph
from edgepress.toolkit.escaping import shell_line

LARGE = "large"
"""Mark of a depthwise kernel of more taps than XNNPACK has kernels for."""
WIDE = "wide"
"""Mark of a concatenation of more inputs than XNNPACK takes."""
PICKING = "picking"
"""Mark of a pool that only leaves out values."""
SMALL = "small"
"""Mark of a 1x1 convolution too small for dynamic quantization."""
MATCHES = {WIDE: find_concat_tree, PICKING: find_fold_pool}
"""Rewrites that also tell, of a finished file, which operations they would have changed."""
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
        to = shell_line("edgepress", "convert", self.source, "--to", scheme or self.scheme)
        return f"{to} --target {target}" if target and target != TARGETS[0] else to


def about(path: Path, inspection: Inspection) -> About:
    """What a file's content says.

    Args:
        path: The file.
        inspection: Its inspection.
    """
    grouped, marks = _of_tflite(path, inspection.nodes) if inspection.format == "tflite" else (_of_onnx(path), {})
    signed = any(n.macs and n.computes_in == "int8" for n in inspection.nodes)
    contract = inspection.contract
    scheme = scheme_of(inspection)
    if contract is not None and contract.scheme in SCHEMES:
        source = _source(path, contract.parent_sha256)
        known = About(contract.scheme, True, contract.rewrites, contract.target, source)
    else:
        known = About(scheme, source=str(path) if SCHEMES[scheme].is_float32 else MODEL)
    return replace(known, grouped=grouped, marks=marks, signed=signed)


def _source(path: Path, sha256: str) -> str:
    """The model that a file was made of, if it lies beside the file or beside its folder."""
    if not sha256:
        return MODEL
    beside = (other for folder in (path.parent.parent, path.parent) for other in sorted(folder.glob("*")))
    models = (other for other in beside if other.suffix in SOURCES and other.is_file())
    return next((str(model) for model in models if sha256_of_file(model) == sha256), MODEL)


def _of_tflite(path: Path, nodes: Sequence[Node]) -> tuple[frozenset[str], dict[str, str]]:
    """Names of the convolutions whose groups are their channels, and the marks of operations."""
    graph = Graph(path.read_bytes())
    marked = {id(op): mark for mark, find in MATCHES.items() for op in find(graph)}
    grouped: set[str] = set()
    marks: dict[str, str] = {}
    for op, node in zip(graph.operators, nodes, strict=False):  # nodes of other graphs follow
        mark = marked.get(id(op), "")
        if _is_grouped(graph, op):
            grouped.add(node.name)
            mark = LARGE if math.prod(graph.shape(int(op.inputs[1]))[1:3]) > max(TILES) else ""
        elif is_small_product(graph, op):
            mark = SMALL
        if mark:
            marks[node.name] = mark
    return frozenset(grouped), marks


def _is_grouped(graph: Graph, op: Any) -> bool:
    if graph.kind(op) not in ("DEPTHWISE_CONV_2D", "CONV_2D") or len(op.inputs) < 2:
        return False
    data, weights = (graph.shape(int(i)) for i in op.inputs[:2])
    return len(weights) == len(data) == 4 and (graph.kind(op) == "DEPTHWISE_CONV_2D" or weights[3] == 1 < data[3])


def _of_onnx(path: Path) -> frozenset[str]:
    """Names of the convolutions in groups, and of the tensors that they make, fused operations included."""
    import onnx

    grouped: set[str] = set()
    for node in onnx.load(str(path), load_external_data=False).graph.node:
        if node.op_type == "Conv" and any(a.name == "group" and a.i > 1 for a in node.attribute):
            grouped |= {node.name, *node.output}
        elif node.op_type in FUSED and node.input and node.input[0] in grouped:
            grouped |= {*node.output}
    return frozenset(grouped)


FUSED = ("Add", "Mul", "Relu", "Clip", "BatchNormalization", "HardSigmoid", "Sigmoid", "QuantizeLinear")
"""Operations that ONNX Runtime fuses into the convolution before them, which is then named by what they make."""
