"""Groups of items that are never divided, such as photos of one object, and their splits.

A net that has seen one photo of an object knows the others. Test items of the same objects then promise more than new
objects will hold.

The rule of a grouping is a text, which a contract stores, so that every command splits the data in the same way: a
regular expression for the names of files (`group_names`), `column:NAME` for a column of `metadata.csv` or an array of
an `.npz`, or `none`. Without one, a training looks for groups itself: in a column of one of the names in `COLUMNS`,
then in the names of the files.

Assign whole groups of items to the splits: no group is divided.

Groups are taken in the order of a hash of their names, so their split depends on no seed, and a new item of a known
group, in a class where the group was before, moves nothing. Shares are therefore counted in groups and not in items: a
large group counts as a small one.

Groups of one class are taken class by class, and those of several classes together, by largest remainder; items
without a group are taken in the same way among themselves, in the order of their content. A class that has no test
group afterwards gets its first one that can be spared. No class loses its last group for training.

Identical content is never in two splits, so groups with copies of each other are one.

Items of multi-label data are divided here, too, each content a group of its own unless they have groups. A group of
several labels is then taken with those of the label that the fewest groups have, because that label is the hardest one
to spread (K. Sechidis, G. Tsoumakas, I. Vlahavas, "On the stratification of multi-label data", ECML PKDD 2011, whose
method starts from it, too); groups without a label are taken together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgepress.toolkit import text
from edgepress.toolkit.data.group_names import SEEN, detect, groups_by_pattern
from edgepress.toolkit.data.items import Items
from edgepress.toolkit.data.splits import SHARES, Ints, Names, keep_together, quotas
from edgepress.toolkit.data.types import SPLITS
from edgepress.toolkit.errors import DataError, NoGroupsError
from edgepress.toolkit.truth import is_multilabel, labels_by_item

Flags = npt.NDArray[np.bool_]


def unite(hashes: npt.NDArray[np.bytes_], groups: Sequence[str]) -> Ints:
    """The number of each item's group, shape (N,): 63 bits of the hash by which groups are ordered.

    An item without a group has that of its content. Groups with equal content are one, of the least of their numbers.

    Args:
        hashes: Content hash of each item, hexadecimal, shape (N,).
        groups: Name of the group of each item; "" for none.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    contents, content = np.unique(hashes, return_inverse=True)
    names = sorted({*groups} - {""})
    places = {name: len(contents) + i for i, name in enumerate(names)}
    nodes = np.array([places.get(name, -1) for name in groups], np.int64)
    rows = np.flatnonzero(nodes >= 0)
    count = len(contents) + len(names)
    edges = coo_array((np.ones(len(rows), np.bool_), (content[rows], nodes[rows])), shape=(count, count))
    _, component = connected_components(edges, directed=False)
    digests = [*contents.astype(str).tolist(), *(hashlib.sha256(_bytes(name)).hexdigest() for name in names)]
    keys = np.array([int(digest[:16], 16) >> 1 for digest in digests], np.int64)
    order = np.lexsort((keys, np.arange(count) < len(contents), component))  # a name comes before contents
    _, first = np.unique(component[order], return_index=True)
    numbers: Ints = keys[order][first][component[content]]
    return numbers


def _bytes(name: str) -> bytes:
    """A name as bytes, whatever a file system or a table has in it."""
    return name.encode(errors="surrogatepass")


def hold_out(numbers: Ints, y: Ints, named: Flags, free: Flags, *, share: float, least: int) -> Flags:
    """Mark the items of the groups that are held out for testing or validation.

    Args:
        numbers: Number of each item's group, shape (N,), by whose order groups are taken.
        y: Class of each item, shape (N,), or its labels, 0 and 1, shape (N, labels).
        named: Whether its group has a name, shape (N,).
        free: Whether its group may be taken, shape (N,).
        share: Share of the groups to take, rounded up.
        least: Groups to take of a class at least, if they can be spared: 0 or 1.
    """
    units, unit = np.unique(numbers, return_inverse=True)
    rows, labels = labels_by_item(y)
    count = int(np.max(labels, initial=-1)) + 1
    of, classes = np.unique(np.stack([unit[rows], labels], axis=1), axis=0).T  # which group is in which classes
    starts = np.searchsorted(of, np.arange(len(units) + 1))
    is_free = np.zeros(len(units), np.bool_)
    is_free[unit[free]] = True
    is_named = np.zeros(len(units), np.bool_)
    is_named[unit[named]] = True
    pool = 2 * _classes_of_units(starts, classes, count, rarest=is_multilabel(y)) + is_named
    wanted = quotas(pool, share, least=0)
    left = np.bincount(classes[is_free[of]], minlength=count)
    taken = np.zeros(len(units), np.bool_)

    def take(group: int) -> bool:
        own = classes[starts[group] : starts[group + 1]]
        if taken[group] or not is_free[group] or (left[own] < 2).any():  # each class keeps one
            return False
        left[own] -= 1
        taken[group] = True
        return True

    for group in range(len(units)):
        if wanted[pool[group]] and take(group):
            wanted[pool[group]] -= 1
    by_class = of[np.argsort(classes, kind="stable")]
    for groups in np.split(by_class, np.cumsum(np.bincount(classes))[:-1]) if least else ():
        if not taken[groups].any():
            any(take(group) for group in groups.tolist())  # the first that can be spared
    if not taken.any():
        any(take(group) for group in range(len(units)))
    return taken[unit]


def _classes_of_units(starts: Ints, classes: Ints, count: int, *, rarest: bool) -> Ints:
    """The class with which each group is taken: its only one; of several the rarest, or `count` unless `rarest`.

    Args:
        starts: Where the classes of each group start, and where the last ones end, shape (groups + 1,).
        classes: The classes of all groups, one group after the other.
        count: Number of classes; stands for a group without one, too.
        rarest: Whether groups of several classes are taken with the class that the fewest groups have.
    """
    sizes = np.diff(starts)
    counts = np.bincount(classes, minlength=count)
    order = np.lexsort((classes, counts[classes], np.repeat(np.arange(len(sizes)), sizes)))
    result = np.full(len(sizes), count, np.int64)
    some = sizes > 0 if rarest else sizes == 1
    result[some] = classes[order][starts[:-1][some]]
    return result


def assign_groups(
    numbers: Ints, y: Ints, named: Flags, stored_split: Names, *, shares: Mapping[str, float] = SHARES
) -> Names:
    """Decide the split of every item, as `edgepress.toolkit.data.splits.assign` without groups.

    Args:
        numbers: Number of each item's group, from `unite`, shape (N,).
        y: Class of each item, shape (N,), or its labels, 0 and 1, shape (N, labels).
        named: Whether the item has a group with a name, shape (N,).
        stored_split: Its split in the data, shape (N,).
        shares: The splits to take from the training items if the data lack them.

    Returns:
        Its split, shape (N,).
    """
    split = keep_together(numbers, stored_split)
    pool = np.flatnonzero(split == "train")
    for name, share in shares.items():
        if len(pool) and not np.any(stored_split == name):
            least = 1 if name == "test" else 0
            free = split[pool] == "train"
            marked = hold_out(numbers[pool], y[pool], named[pool], free, share=share, least=least)
            split[pool[marked]] = name
    return split


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
    detected = rule is None and items.whole and bool(items.labels) and (training or bool(items.usual_group))
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
    usual = f"{COLUMN}{items.usual_group}" if items.usual_group else None
    if items.table is not None and items.paths is None:
        return usual
    try:
        columns = items.columns.names() if items.columns is not None else []
    except DataError:  # nobody asked for the table, which may be another tool's
        columns = []
    for name in columns:
        if name in COLUMNS:
            return f"{COLUMN}{name}"
    if items.paths is None or not np.isin(items.stored_split, ("train", "")).all():
        return usual
    files = {*zip(items.paths(), items.y.tolist(), strict=True)} if usual else None  # each once, of many windows
    paths, classes = zip(*sorted(files), strict=True) if files else (items.paths(), items.y)
    return detect(paths, np.asarray(classes), classes=len(items.labels)) or usual


def _names_by(rule: str, items: Items, source: str) -> tuple[list[str], list[str]]:
    """The name of each item's group, with notes."""
    if _is_pattern(rule):
        if items.paths is None:
            hint = (
                f"Give {COLUMN}NAME for a column of a CSV file or array of an .npz; a regular expression needs a "
                "folder of class folders."
            )
            raise NoGroupsError(f"--group {rule}: the items of {source} have no file names.", hint)
        names = groups_by_pattern(rule, items.paths())
        if items.usual_group and items.columns is not None:  # windows of a recording stay together without a match, too
            names = [name or own for name, own in zip(names, items.columns.read(items.usual_group)[0], strict=True)]
        return names, []
    columns = items.columns.names() if items.columns is not None else []
    name = rule.removeprefix(COLUMN)
    if items.columns is None or name not in columns:
        there = f"; found: {_some(columns)}" if columns else ""
        hint = 'docs/data.md, "Groups", says where a column is read from.'
        raise NoGroupsError(f"--group {rule}: {source} has no column {name!r}{there}.", hint)
    return items.columns.read(name)


def _some(names: Sequence[str]) -> str:
    return ", ".join(name[:LONGEST] for name in names[:NAMED]) + (", ..." if len(names) > NAMED else "")
