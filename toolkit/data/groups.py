"""Which items are of one group and are therefore never divided: photos of one object, frames of one video, one speaker.

A net that has seen one photo of an object knows the others. Test items of the same objects then promise more than new
objects will hold.

The rule of a grouping is a text, which a contract stores, so that every command splits the data in the same way: a
regular expression for the names of files (`group_names`), `column:NAME` for a column of `metadata.csv` or an array of
an `.npz`, or `none`. Without one, a training looks for groups itself: in a column of one of the names in `COLUMNS`,
then in the names of the files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgepress.toolkit import text
from edgepress.toolkit.data.group_names import SEEN, detect, groups_by_pattern
from edgepress.toolkit.data.group_splits import Flags, assign_groups, unite
from edgepress.toolkit.data.items import Items
from edgepress.toolkit.data.splits import Ints, Names
from edgepress.toolkit.data.types import SPLITS
from edgepress.toolkit.errors import DataError, NoGroupsError

NONE = "none"
"""The rule of splits by content alone."""
COLUMN = "column:"
"""The beginning of a rule that names a column."""
COLUMNS = ("group", "groups")
"""Columns that are used without being named."""
NAMED = 3
"""Number of groups, files or columns that a text names."""
LONGEST = 40
"""Characters of a name that a text shows."""
USUAL_SHARE = (0.1, 0.4)
"""Shares of the test items in which a split by groups needs no note."""
TO_DIVIDE = "--group none splits by content alone."


@dataclass(frozen=True)
class Grouping:
    """The groups of items.

    Attributes:
        rule: What finds them, as a contract stores it.
        source: What the user calls the data.
        numbers: Number of the group of each item (`unite`), shape (N,); of one that is left out, 0.
        names: Its name; "" of an item without a group, which is split by its content.
        notes: What a user should know of them.
    """

    rule: str
    source: str
    numbers: Ints
    names: Sequence[str]
    notes: tuple[str, ...]

    @property
    def named(self) -> Flags:
        """Whether each item has a group with a name, shape (N,)."""
        return np.array([bool(name) for name in self.names], np.bool_)

    def assign(self, y: Ints, stored_split: Names, shares: dict[str, float]) -> Names:
        """The split of each item, as `edgepress.toolkit.data.splits.assign`."""
        split = np.full(len(stored_split), "", "<U5")
        used = stored_split != ""
        split[used] = assign_groups(self.numbers[used], y[used], self.named[used], stored_split[used], shares=shares)
        return split

    def notes_on(self, split: Names, stored_split: Names) -> tuple[str, ...]:
        """The notes, with those on groups that the data divide and on shares that are far from the usual ones."""
        notes = list(self.notes)
        left_out = (split == "") & (stored_split != "")
        if divided := sorted({self.names[i] for i in np.flatnonzero(left_out).tolist()} - {""}):
            many = text.plural(len(divided), "group")
            notes.append(
                f"{many} of {self.source} {'is' if len(divided) == 1 else 'are'} in several of its splits "
                f"({_some(divided)}): {int(left_out.sum())} items of these are left out, so that no group is divided."
            )
        counts = {name: int((split == name).sum()) for name in SPLITS}
        share = counts["test"] / max(sum(counts.values()), 1)
        if "test" not in stored_split and not USUAL_SHARE[0] <= share <= USUAL_SHARE[1]:
            notes.append(
                f"The test split has {100 * share:.0f} % of the items, because it is a share of the groups and these "
                "differ in size. Put the items into train/, val/ and test/ to choose."
            )
        return tuple(notes)


def find_groups(items: Items, rule: str | None, source: str, *, training: bool) -> Grouping | None:
    """The groups of items by a rule; None if there are none.

    Args:
        items: The items.
        rule: The rule; None looks for groups if the items are for `training`.
        source: What the user calls the data.
        training: Whether the data are opened for training.

    Raises:
        NoGroupsError: The rule can't be used with these data, or finds no group.
        EdgepressError: It is no rule, or the column can't be read.
    """
    detected = rule is None and training and items.whole and bool(items.labels)
    rule = _detect(items) if detected else rule
    if not rule or rule == NONE:
        return None
    names, notes = _names_by(rule, items, source)
    used = items.stored_split != ""
    rows = np.flatnonzero(used).tolist()
    numbers = np.zeros(len(names), np.int64)
    numbers[used] = unite(items.hashes[used], [names[i] for i in rows])
    groups = sorted({names[i] for i in rows} - {""})
    if not groups:
        hint = "It is searched in the path of a file below its class folder." if _is_pattern(rule) else "Fill it in."
        raise NoGroupsError(f"--group {rule} finds no group in {source}.", f"{hint} {TO_DIVIDE}")
    found = f"{text.plural(len(groups), 'group')} of items ({_some(groups)})"
    kept = "none is divided between training, validation and test items"
    if detected and _is_pattern(rule):
        notes.append(f"File names begin with or hold {found} that occur in several classes: {kept}. {TO_DIVIDE}")
    else:
        notes.append(f"{found} by {rule}: {kept}.{f' {TO_DIVIDE}' if detected else ''}")
    joined = len(groups) - len(np.unique(numbers[used & np.array([bool(name) for name in names], np.bool_)]))
    if joined:
        notes.append(
            f"Copies of items are in several groups, which are therefore split as if they were {joined} fewer."
        )
    if alone := [i for i in rows if not names[i]]:
        some = _some([items.source.name(i) for i in alone[:NAMED]])
        notes.append(f"{len(alone)} of {len(rows)} items have no group ({some}): they are split by their content.")
    return Grouping(rule, source, numbers, names, tuple(notes))


def is_seen(rule: str) -> bool:
    """Whether a rule is one that a training finds itself, so that it need not be named for another one."""
    return rule in SEEN or rule in [f"{COLUMN}{name}" for name in COLUMNS]


def _is_pattern(rule: str) -> bool:
    return not rule.startswith(COLUMN)


def _detect(items: Items) -> str | None:
    """The rule of groups that nobody named; those of names only where the data have no splits of their own."""
    try:
        columns = items.columns.names() if items.columns is not None else []
    except DataError:  # nobody asked for the table, which may be another tool's
        columns = []
    for name in columns:
        if name in COLUMNS:
            return f"{COLUMN}{name}"
    if items.paths is None or not np.isin(items.stored_split, ("train", "")).all():
        return None
    return detect(items.paths(), items.y, classes=len(items.labels))


def _names_by(rule: str, items: Items, source: str) -> tuple[list[str], list[str]]:
    """The name of each item's group, with notes."""
    if _is_pattern(rule):
        if items.paths is None:
            hint = f"Give {COLUMN}NAME for an array of an .npz; a regular expression needs a folder of class folders."
            raise NoGroupsError(f"--group {rule}: the items of {source} have no file names.", hint)
        return groups_by_pattern(rule, items.paths()), []
    columns = items.columns.names() if items.columns is not None else []
    name = rule.removeprefix(COLUMN)
    if items.columns is None or name not in columns:
        there = f"; found: {_some(columns)}" if columns else ""
        hint = 'docs/data.md, "Groups", says where a column is read from.'
        raise NoGroupsError(f"--group {rule}: {source} has no column {name!r}{there}.", hint)
    return items.columns.read(name)


def _some(names: Sequence[str]) -> str:
    return ", ".join(name[:LONGEST] for name in names[:NAMED]) + (", ..." if len(names) > NAMED else "")
