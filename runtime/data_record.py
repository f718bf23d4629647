"""What a contract says of data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

from edgepress.runtime.input_spec import record


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableRecord:
    """How rows of CSV files became items.

    `columns` are the channels in their order, `label` the column of the classes or "". An item is `window` consecutive
    rows, the next one begins `step` rows later; both are 0 if each row is an item.
    """

    columns: tuple[str, ...]
    label: str = ""
    window: int = 0
    step: int = 0

    def __post_init__(self) -> None:
        if not all(isinstance(name, str) for name in (*self.columns, self.label)):
            raise TypeError("a column is not a text")
        if not all(type(n) is int and n >= 0 for n in (self.window, self.step)):
            raise ValueError(f"window and step are {self.window!r}, {self.step!r}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataRecord:
    """The data that a model was trained on, or that the files of another tool's model were made with.

    `source` is the value of `--data`, a name or a path, whole if it is not found from the model's folder upwards;
    `sha256` is over every item's content hash and label; `counts` are the items by split: "train", "val", "test".
    `group` is the rule of items that are in one split, `table` how rows became items.
    """

    source: str
    sha256: str
    counts: Mapping[str, int]
    group: str = ""
    table: TableRecord | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.group, str):
            raise TypeError("group is not a text")


def data_record_from(raw: Any) -> DataRecord:
    """Parse and check a record; any exception means that it is damaged."""
    parsed: DataRecord = record(DataRecord, raw, table=partial(record, TableRecord, columns=tuple))
    return parsed
