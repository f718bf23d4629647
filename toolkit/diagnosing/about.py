"""What a diagnosis needs to know of a file beside its profile: its scheme, its rewrites, and what to convert again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgepress.converters.inspection import Inspection, Node
from edgepress.converters.rewrites.graph import Graph
from edgepress.converters.rewrites.table import REWRITES, Rewrite
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.targets import TARGETS

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
        large: Names of those among them with more taps than XNNPACK's kernels take.
    """

    scheme: str
    ours: bool = False
    rewrites: tuple[str, ...] = ()
    target: str = TARGETS[0]
    source: str = MODEL
    grouped: frozenset[str] = frozenset()
    large: frozenset[str] = frozenset()

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
    shapes = (_tflite_groups if found.format == "tflite" else _onnx_groups)(path, found.nodes)
    contract = found.contract
    if contract is not None and contract.scheme in SCHEMES:
        source = _source(path, contract.parent_sha256)
        return About(contract.scheme, True, contract.rewrites, contract.target, source, *shapes)
    scheme = _scheme(found.format, found.nodes)
    source = str(path) if SCHEMES[scheme].is_float32 else MODEL
    return About(scheme, False, (), TARGETS[0], source, *shapes)


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


_Names = tuple[frozenset[str], frozenset[str]]
TAPS = 25
"""Most taps of XNNPACK's kernels for depthwise convolutions (src/configs/dwconv-config.c)."""


def _tflite_groups(path: Path, nodes: Sequence[Node]) -> _Names:
    """Names of the convolutions whose groups are their channels, and of those that are large."""
    graph, grouped, large = Graph(path.read_bytes()), set(), set()
    for op, node in zip(graph.operators, nodes, strict=False):  # nodes of other graphs follow
        kind = graph.kind(op)
        if kind not in ("DEPTHWISE_CONV_2D", "CONV_2D") or len(op.inputs) < 2:
            continue
        weights, data = graph.shape(int(op.inputs[1])), graph.shape(int(op.inputs[0]))
        if len(weights) == 4 and len(data) == 4 and (kind != "CONV_2D" or weights[3] == 1 < data[3]):
            grouped.add(node.name)
            if weights[1] * weights[2] > TAPS:
                large.add(node.name)
    return frozenset(grouped), frozenset(large)


def _onnx_groups(path: Path, _: Sequence[Node]) -> _Names:
    """The same of an ONNX file; tensors that such a convolution makes, fused operations included, are named, too."""
    import onnx

    found: set[str] = set()
    for node in onnx.load(str(path), load_external_data=False).graph.node:
        if node.op_type == "Conv" and any(a.name == "group" and a.i > 1 for a in node.attribute):
            found |= {node.name, *node.output}
        elif node.op_type in FUSED and node.input and node.input[0] in found:
            found |= {*node.output}
    return frozenset(found), frozenset()


FUSED = ("Add", "Mul", "Relu", "Clip", "BatchNormalization", "HardSigmoid", "Sigmoid", "QuantizeLinear")
"""Operations that ONNX Runtime fuses into the convolution before them, which is then named by what they make."""
