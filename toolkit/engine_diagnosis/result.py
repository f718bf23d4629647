"""What a comparison of engines found."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first operation that two engines compute differently, in the order of the file.

    Attributes:
        operation: Its place in the file, from 0.
        kind: Its name in the schema, such as "CONV_2D".
        tensor: The name of its output in the file, which may be anything.
        steps: The largest difference of two stored numbers.
        items: Number of items on which it shows.
        values: Share of the numbers of its output that differ, 0-1, over all items.
        why: The cause, where it is known.
    """

    operation: int
    kind: str
    tensor: str
    steps: int
    items: int
    values: float
    why: str


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two engines.

    Attributes:
        engines: Their names.
        first: The first operation that they compute differently; None if there is none.
        answers: Number of items whose answers, the outputs of the file, differ.
        answer_steps: The largest difference of two numbers of an answer.
    """

    engines: tuple[str, str]
    first: Difference | None
    answers: int
    answer_steps: int


@dataclass(frozen=True, kw_only=True)
class EngineComparison:
    """What different engines make of one file.

    Attributes:
        file: The file.
        source: Where the items are from: data, or "random".
        items: Number of items.
        operations: Number of operations.
        pairs: The first engine with each of the others.
        notes: What a reader must know of file and data.
    """

    file: str
    source: str
    items: int
    operations: int
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The document that `diagnose --engines --json` prints."""
        return {"schema_version": 1, **dataclasses.asdict(self)}
