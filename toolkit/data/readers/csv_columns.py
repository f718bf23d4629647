"""What the columns of a CSV file are: the label, groups, times, and the channels, which are all others.

Names are compared without capitals and signs. A column that has one of these names and is not used is no channel:
a second label or the number of a person would tell a net the answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgepress.toolkit.data.groups import COLUMN
from edgepress.toolkit.data.items import UNLABELLED, ReadOptions
from edgepress.toolkit.data.options import LABELS
from edgepress.toolkit.errors import DataError

GROUPS = (
    *("group", "groups", "subject", "person", "participant", "user", "volunteer"),
    *("recording", "session", "trial", "file", "filename"),
)
"""Names of columns of items that belong together, those first by which data are split first; also with `id` behind."""
TIMES = frozenset({"", "time", "times", "timestamp", "timestamps", "datetime", "date", "index", "id", "unnamed"})
"""First words of columns of times and numbers of rows."""
UNITS = frozenset({"s", "ms", "us", "ns", "sec", "seconds", "utc", "unix", "epoch"})
"""What may follow these words, beside numbers."""
SHOWN = 6
"""Number of columns that a message names."""


@dataclass(frozen=True)
class Roles:
    """The columns of a table, by name.

    Attributes:
        label: That of the classes; "" for none.
        groups: Those by which items can be grouped, the usual first.
        channels: Those of the values, in the order of an item.
        ignored: Those that are neither.
    """

    label: str
    groups: tuple[str, ...]
    channels: tuple[str, ...]
    ignored: tuple[str, ...]


def roles_of(where: str, names: Sequence[str], options: ReadOptions) -> Roles:
    """What the columns of these names are.

    Args:
        where: The file, for messages.
        names: The names in its first line.
        options: `label_column` and `columns` name the label and the channels, `group` may name a column.

    Raises:
        DataError: A column is missing, there are two of a name or two that may be the label, or no channel is left.
    """
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{where} has several columns {doubled[0]!r}.", "Give each column a name of its own.")
    label = _label(where, names, options)
    asked = (options.group or "").removeprefix(COLUMN) if (options.group or "").startswith(COLUMN) else ""
    groups = [name for usual in GROUPS for name in names if _plain(name) in (usual, f"{usual}id")]
    if asked in names and asked not in groups:
        groups.append(asked)
    groups = [name for name in groups if name != label]
    if options.columns is not None:
        if missing := [name for name in options.columns if name not in names]:
            raise DataError(
                f"{where} has no column {missing[0]!r}, which the model takes; found: {_some(names)}.",
                f"The model takes the columns {_some(options.columns)}.",
            )
        channels = list(options.columns)
    else:
        apart = {label, *groups, *(name for name in names if _plain(name) in LABELS or _is_time(name))}
        channels = [name for name in names if name not in apart]
    if not channels:
        raise DataError(f"{where} has no column of values; found: {_some(names)}.", "Add columns of numbers.")
    known = {label, *groups, *channels}
    return Roles(label, tuple(groups), tuple(channels), tuple(name for name in names if name not in known))


def _label(where: str, names: Sequence[str], options: ReadOptions) -> str:
    """The name of the column of the classes; "" if there is none and none is needed."""
    wanted = options.label_column
    if wanted and (wanted in names or not options.unlabelled):
        if wanted not in names:
            raise DataError(f"{where} has no column {wanted!r}; found: {_some(names)}.", "Name one: --label-column.")
        return wanted
    usual = [name for each in LABELS for name in names if _plain(name) == each]
    if len(usual) > 1:
        raise DataError(f"{where}: each of {_some(usual)} may be the label.", "Name it with --label-column.")
    if not usual and not options.unlabelled:
        hint = f"Name it with --label-column; found without that: {', '.join(LABELS)}. {UNLABELLED}"
        raise DataError(f"{where} has no column of labels; found: {_some(names)}.", hint)
    return usual[0] if usual else ""


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())


def _is_time(name: str) -> bool:
    """Whether a column is of times or numbers of rows, such as `time_ms`, `Timestamp (s)` and pandas' `Unnamed: 0`."""
    first, *more = re.split(r"[\W_]+", name.casefold().strip(" ()[]"))
    return first in TIMES and all(word in UNITS or word.isdecimal() or not word for word in more)


def _some(names: Sequence[str]) -> str:
    return ", ".join(name[:40] for name in names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
