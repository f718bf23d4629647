"""Look into an ONNX model, a protobuf message, with the standard library: it is skipped through, not parsed."""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterator

Data = bytes | mmap.mmap

MAX_NODES = 100_000
"""Most nodes that the calls of functions in a file may stand for: engines put a function in the place of each call."""
MAX_CALLS = 100
"""Most functions that may call each other in a row."""
_GRAPH = 7
"""The field of ModelProto that holds the graph."""
_FUNCTION = 25
"""The field of ModelProto that holds functions."""
_INNER = {
    "model": {_GRAPH: "graph"},
    "graph": {1: "node"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {6: "graph", 11: "graph"},
}
"""By message, the fields with messages in which nodes are."""
_CALL = (7, 4, 8)
"""Domain, name and overload in a NodeProto."""
_NAME = (10, 1, 13)
"""The same in a FunctionProto."""


def fields(data: Data, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The fields of a message that have a length: number, start, end.

    Raises:
        ValueError: It is damaged.
    """
    while at < end:
        key, at = _varint(data, at)
        kind = key & 7
        number = key >> 3
        if kind == 0:
            _, at = _varint(data, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        elif kind == 2:
            size, at = _varint(data, at)
            if at + size > end:
                raise ValueError(f"field {number} ends {at + size - end} bytes behind its message")
            yield number, at, at + size
            at += size
        else:
            raise ValueError(f"it is not valid protobuf: field {number} is of the unknown kind {kind}")


def _varint(data: Data, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and the position behind it."""
    value = 0
    for shift in range(0, 70, 7):
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value, at
    raise ValueError("a number has more than ten bytes")


def check_functions(model: str | bytes) -> None:
    """Refuse an ONNX model, a path or bytes, whose functions call themselves or stand for very many nodes.

    Raises:
        ValueError: It is such a model, or damaged.
    """
    if isinstance(model, bytes):
        return _check_functions(model)
    with open(model, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _check_functions(data)


def _check_functions(data: Data) -> None:
    parts = [field for field in fields(data, 0, len(data)) if field[0] in (_GRAPH, _FUNCTION)]
    bodies = {_words(data, start, end, _NAME): (start, end) for number, start, end in parts if number == _FUNCTION}
    if not bodies:
        return
    calls = {name: Counter(_nodes(data, "function", *body)) for name, body in bodies.items()}
    calls[()] = Counter(node for number, *graph in parts if number == _GRAPH for node in _nodes(data, "graph", *graph))
    called = {name: [(other, n) for other, n in nodes.items() if other in bodies] for name, nodes in calls.items()}
    plain = {name: calls[name].total() - sum(n for _, n in others) for name, others in called.items()}
    sizes: dict[tuple[bytes, ...], int] = {}
    left = {*called}
    for _ in range(MAX_CALLS):
        ready = {name for name in left if left.isdisjoint(other for other, _ in called[name])}
        sizes |= {name: plain[name] + sum(n * sizes[other] for other, n in called[name]) for name in ready}
        left -= ready
    if left:
        raise ValueError(f"its functions call each other in a circle, or more than {MAX_CALLS} in a row")
    if sizes[()] - plain[()] > MAX_NODES:
        raise ValueError(f"the calls of its functions stand for {sizes[()]} nodes; accepted: up to {MAX_NODES}")


def _words(data: Data, start: int, end: int, wanted: tuple[int, ...]) -> tuple[bytes, ...]:
    texts = {number: data[a:b] for number, a, b in fields(data, start, end) if number in wanted}
    return tuple(bytes(texts.get(number, b"")) for number in wanted)


def _nodes(data: Data, message: str, start: int, end: int) -> Iterator[tuple[bytes, ...]]:
    """What each node in a message calls, those in its graphs' graphs included."""
    left = [(message, start, end)]
    while left:
        message, start, end = left.pop()
        if message == "node":
            yield _words(data, start, end, _CALL)
        inner = _INNER[message]
        left += [(inner[number], a, b) for number, a, b in fields(data, start, end) if number in inner]
