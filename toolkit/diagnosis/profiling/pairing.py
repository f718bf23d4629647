"""Which operation of the file a kernel stands for.

LiteRT's delegate, XNNPACK, does not report that, but it keeps the operations' order within each part of the graph that
it takes: the two sequences are aligned by the kind of their members (longest common subsequence), and the alignment is
used only if every matrix product found its partner. ONNX Runtime names kernels after the nodes of the file, or after
what these make.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edgepress.converters.inspection import Node
from edgepress.converters.to_tflite.graph import Graph
from edgepress.toolkit.workers.trace import Kernel

PRODUCT = "product"
PRODUCTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL")
# fmt: off
KERNELS = {
    "Convolution": PRODUCT, "Deconvolution": PRODUCT, "Fully Connected": PRODUCT, "Batch Matrix Multiply": PRODUCT,
    "Max Pooling": "MAX_POOL_2D", "Average Pooling": "AVERAGE_POOL_2D", "Mean": "MEAN", "Sum": "SUM", "Add": "ADD",
    "Subtract": "SUB", "Multiply": "MUL", "Softmax": "SOFTMAX", "Softmax2": "SOFTMAX", "HardSwish": "HARD_SWISH",
    "Sigmoid": "LOGISTIC", "Tanh": "TANH", "Concatenate": "CONCATENATION", "Constant Pad": "PAD",
    "Transpose": "TRANSPOSE", "Invalid Unary Op": "look-up table",
}
# fmt: on
"""The TFLite operation that a kernel of XNNPACK stands for, by the first words of its name; a product may stand for any
of `PRODUCTS`, and a look-up table for several operations."""


class Ports(NamedTuple):
    """Indices of the tensors that an operation reads and makes."""

    reads: tuple[int, ...]
    makes: tuple[int, ...]


def ports_of(path: Path) -> list[Ports]:
    """The tensors of each operation of a TFLite file's first graph."""
    operators = Graph(path.read_bytes()).operators
    return [Ports(tuple(map(int, op.inputs)), tuple(map(int, op.outputs))) for op in operators]


def in_partitions(ports: Sequence[Ports], own: Collection[int]) -> list[int]:
    """Places of operations in the order in which LiteRT runs them.

    It puts operations that a delegate takes, and those that it does not, into parts in turn; each part holds all that
    can run by then (tflite/graph_info.cc, `PartitionGraphIntoIndependentNodeSubsets`).

    Args:
        ports: Tensors of each operation, in the file's order.
        own: Places of operations that no delegate takes.
    """
    left = dict(enumerate(ports))
    missing = {index for op in ports for index in op.makes}
    order: list[int] = []
    while left:
        kind = None
        places = []
        for place, op in left.items():
            ready = missing.isdisjoint(op.reads)
            if ready and kind in (None, place in own):
                kind = place in own
                places.append(place)
                missing.difference_update(op.makes)
        if not places:  # a circle: the file is damaged
            return list(range(len(ports)))
        order += places
        for place in places:
            del left[place]
    return order


def plain_name(name: str) -> str:
    """The name of a node or a tensor of an ONNX file without what ONNX Runtime's optimizer appends."""
    return re.sub(r"(_token_\d+|_nchwc|/duplicated)+$", "", name)


def paired_by_name(kernels: Sequence[Kernel], file_nodes: Sequence[Node]) -> dict[int, Node]:
    """The operation of an ONNX file that has a kernel's name."""
    named = {node.name: node for node in file_nodes}
    return {i: named[name] for i, k in enumerate(kernels) if (name := plain_name(k.name)) in named}


def weight_bytes(node: Node) -> int | None:
    """Size of an operation's weights as engines keep them: those of 16-bit floats are unpacked."""
    kind = node.data_types.partition(" -> ")[0].rpartition(" x ")[2]
    return None if node.parameters is None else int(node.parameters * {"int8": 1, "uint8": 1, "int4": 0.5}.get(kind, 4))


def operation_of(kernel: Kernel) -> str:
    """The operation that a kernel stands for by its name alone."""
    kind = kernel.kind.partition(" (")[0]
    known = KERNELS.get(kind, PRODUCT) if kernel.delegated else PRODUCT
    return kind if known == PRODUCT else known


def own_places(kernels: Sequence[Kernel]) -> set[int]:
    """Positions of the file's operations that no delegate ran."""
    return {k.place for k in kernels if k.place is not None}


def pair(kernels: Sequence[Kernel], file_nodes: Sequence[Node], ports: Sequence[Ports]) -> dict[int, Node]:
    """The operation of a TFLite file that each kernel stands for, where that is certain.

    Args:
        kernels: The kernels of one inference, in order.
        file_nodes: The file's operations.
        ports: Tensors that each operation reads and makes.
    """
    own = own_places(kernels)
    pairs = {i: file_nodes[k.place] for i, k in enumerate(kernels) if k.place is not None and k.place < len(file_nodes)}
    left = [(i, KERNELS.get(k.kind.partition(" (")[0], "")) for i, k in enumerate(kernels) if k.delegated]
    right = [
        (file_nodes[place], PRODUCT if file_nodes[place].operation in PRODUCTS else file_nodes[place].operation)
        for place in in_partitions(ports, own)
        if place not in own and place < len(file_nodes)
    ]
    nodes = {left[a][0]: right[b][0] for a, b in align([s for _, s in left], [s for _, s in right])}
    products = {i for i, sort in left if sort == PRODUCT}
    return pairs | (nodes if products <= set(nodes) else {})


def align(left: Sequence[str], right: Sequence[str]) -> list[tuple[int, int]]:
    """Positions of a longest common subsequence of two sequences."""
    longest = np.zeros((len(left) + 1, len(right) + 1), np.int64)
    for a in reversed(range(len(left))):
        for b in reversed(range(len(right))):
            equal = left[a] == right[b]
            longest[a, b] = longest[a + 1, b + 1] + 1 if equal else max(longest[a + 1, b], longest[a, b + 1])
    pairs = []
    a = 0
    b = 0
    while a < len(left) and b < len(right):
        if left[a] == right[b]:
            pairs.append((a, b))
        step = left[a] == right[b]
        a, b = (a + 1, b + 1) if step else (a + 1, b) if longest[a + 1, b] >= longest[a, b + 1] else (a, b + 1)
    return pairs
