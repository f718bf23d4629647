"""Groups of items by the names of their files: those that a regular expression finds, and those that are seen in them.

A regular expression is searched in the path of a file below its class folder, with `/` between folders. The group is
its first group in parentheses, or the whole match.

A search can take exponential time, and the expression may be from somebody else's model file or edgepress.toml. So it
runs in a child process with a limit on its time, unless it is one of `SEEN`, which take linear time.

`detect` finds groups that nobody named, such as `speaker3_0001.jpg`: the same part of the name, in most classes, and
several times in each. It finds none where it is in doubt, because groups change which items are test items: numbers of
a camera, dates, names of a class, hashes, augmentations and parts of a data set are none.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import numpy as np

from edgepress.converters.process.worker import ChildDied, Emit, run_in_child
from edgepress.toolkit.data.splits import Ints
from edgepress.toolkit.errors import InputError

LONGEST_PATTERN = 500
"""Most characters of a regular expression."""
SECONDS = 10.0
"""Time that a regular expression may take for `CHUNK` names."""
CHUNK = 1000

SEEN = (
    r"^(.+)/",
    r"(?:^|/)([^/_\- ]+)(?=[_\- ][^/]*$)",
    r"(?:^|/)[^/_\- ]+[_\- ]+([^/_\- ]+)(?=[_\- ][^/]*$)",
    r"(?:^|/)(?:[^/_\- ]+[_\- ]+){2}([^/_\- ]+)(?=[_\- ][^/]*$)",
    r"(?:^|/)([^/_\- ]*[^/\d_\- ])\d{1,20}\.[^/.]*$",
)
"""Where groups are looked for: a folder in the class folder; the first, second or third part of a name, but not its
last; and all but the digits at its end. Each takes linear time in the length of a name."""
FEWEST_GROUPS = 5
LEAST_OF_CLASS = 3
"""Groups of each class at least: for training, validation and testing."""
ITEMS_OF_GROUP = 3
"""Items of a group at least, on average."""
ITEMS_OF_CELL = 2
"""Median number of items of a group in a class at least: a counter that begins anew in each class has one."""
MATCHING = 0.9
"""Share of the names that must have a group."""
CROSSING = 0.8
"""Share of the items whose group must be in half of the classes or more."""
LARGEST = 0.5
"""Largest share of the items of one group."""
DIGITS = 0.8
"""Share of the groups whose names must have a digit: words may as well be kinds of pictures, such as night."""
OF_OTHERS = 0.1
"""Share of names of cameras, with dates, or of hashes from which on nothing is looked for."""
OTHER_NAMES = re.compile(
    r"(?<!\d)(?:19|20)\d\d[-_. ]?(?:0\d|1[0-2])[-_. ]?(?:[0-2]\d|3[01])"  # a date
    r"|(?<!\d)[0-3]?\d[-_. ][01]?\d[-_. ](?:19|20)\d\d(?!\d)"
    r"|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"  # a UUID
    r"|(?:^|/)[1-9]\d\d[-_]\d{4}\.[^/.]*$",  # number of a folder and of a picture in cameras (DCF, JEITA CP-3461)
    re.IGNORECASE,
)
_GENERIC = """
angle aug augmented batch blur brightness chunk contrast crop cropped data dataset deg degree degrees dim
dji dsc dscf dscn epoch file flip flipped fold frame gopr gx img image images jpg jpeg mvimg noise part
pic picture photo png px pxl rot rotate rotated rotation sample scale scan screenshot set shift size split
test testing train training v val valid validation ver version vid w x y zoom
"""
GENERIC = frozenset(_GENERIC.split())
"""What the name of a group without its digits must not be."""


def groups_by_pattern(pattern: str, paths: Sequence[str]) -> list[str]:
    """The group of each file, "" for none.

    Args:
        pattern: The regular expression.
        paths: Paths below the class folders.

    Raises:
        InputError: It is none, is too long, or takes too long.
    """
    if len(pattern) > LONGEST_PATTERN:
        raise InputError(
            f"The regular expression of --group has {len(pattern)} characters; accepted: up to {LONGEST_PATTERN}."
        )
    if pattern in SEEN:
        return _search(re.compile(pattern), paths)
    try:
        return list(itertools.chain.from_iterable(run_in_child(_answer, (pattern, paths), silence_s=SECONDS)))
    except ChildDied as e:
        reason = f"takes more than {SECONDS:.0f} s for {CHUNK} names" if e.late else f"can't be searched ({e})"
        hint = r"Give one without repetitions in repetitions, such as 'speaker\d+'."
        raise InputError(f"The regular expression {pattern!r} of --group {reason}.", hint) from e


def _answer(job: tuple[str, Sequence[str]], emit: Emit) -> None:
    """In a child process: the group of each name, in lists of `CHUNK`."""
    pattern, paths = job
    try:
        expression = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as e:
        hint = r"Accepted: a regular expression of Python, such as 'speaker\d+', column:NAME, or none."
        raise InputError(f"--group {pattern!r} is no regular expression: {e}.", hint) from e
    for start in range(0, len(paths), CHUNK):
        emit(_search(expression, paths[start : start + CHUNK]))


def _search(expression: re.Pattern[str], paths: Sequence[str]) -> list[str]:
    place = 1 if expression.groups else 0
    return [(match[place] or "") if (match := expression.search(path)) else "" for path in paths]


def detect(paths: Sequence[str], y: Ints, *, classes: int) -> str | None:
    """The expression of `SEEN` by which names have groups in most classes; None if none is plausible.

    Args:
        paths: Paths below the class folders.
        y: Class of each, shape (N,).
        classes: Number of classes.
    """
    if classes < 2 or len(paths) < FEWEST_GROUPS * ITEMS_OF_GROUP:
        return None
    if sum(OTHER_NAMES.search(path) is not None for path in paths) > OF_OTHERS * len(paths):
        return None
    return next((p for p in SEEN if _are_plausible(_search(re.compile(p), paths), y, classes)), None)


def _are_plausible(groups: Sequence[str], y: Ints, classes: int) -> bool:
    """Whether groups of names are likely to be groups of items."""
    names = sorted({*groups} - {""})
    if not FEWEST_GROUPS <= len(names) <= len(groups) / ITEMS_OF_GROUP:
        return False
    stems = [re.sub(r"[\d\W_]+", "", name).lower() for name in names]
    if sum(map(bool, (re.search(r"\d", name) for name in names))) < DIGITS * len(names):
        return False
    if sum(stem in GENERIC for stem in stems) > (1 - DIGITS) * len(names):
        return False
    numbers = {name: i for i, name in enumerate(names)}
    of = np.array([numbers.get(name, -1) for name in groups], np.int64)
    rows = of >= 0
    if rows.mean() < MATCHING:
        return False
    cells, counts = np.unique(np.stack([of[rows], y[rows]], axis=1), axis=0, return_counts=True)
    spread = np.bincount(cells[:, 0])  # number of classes of each group
    sizes = np.bincount(of[rows])
    crossing = np.sum(sizes[spread >= max(2, classes / 2)])
    return bool(
        np.median(counts) >= ITEMS_OF_CELL
        and crossing >= CROSSING * np.sum(sizes)
        and np.max(sizes) <= LARGEST * np.sum(sizes)
        and np.min(np.bincount(cells[:, 1], minlength=classes)) >= LEAST_OF_CLASS
    )
