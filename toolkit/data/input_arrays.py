"""Which arrays of an `.npz` hold the inputs of a model of several."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgepress.runtime.input_record import NamedInput, match_names
from edgepress.toolkit.errors import DataError

ORDERED = "x."
"""Beginning of the names of arrays of several inputs that have no names, but an order."""
LABEL_ARRAYS = frozenset({"y", "labels"})
"""Names of the arrays that hold the labels of items and the names of labels, which an input may have as well."""


def stored_inputs(path: Path, names: Iterable[str], inputs: Sequence[NamedInput]) -> tuple[str, ...]:
    """The names, without that of a split, of the arrays that hold several inputs, in their order; () of one input.

    An array has the name of its input, which may differ in capitals if that leaves no doubt; or all are numbered, x.1,
    x.2 and so on, in the order of the inputs.

    Raises:
        DataError: An input has no array.
    """
    if not inputs:
        return ()
    stems = list(dict.fromkeys(re.sub(r"_(train|val|test)$", "", name) for name in names))
    stored = [stem for stem in stems if stem not in LABEL_ARRAYS]
    wanted = [each.name for each in inputs]
    numbered = [f"{ORDERED}{place}" for place in range(1, len(inputs) + 1)]
    if set(numbered) <= set(stored) and f"{ORDERED}{len(inputs) + 1}" not in stored:
        return tuple(numbered)
    found = {name: stem for stem, name in match_names(stored, wanted).items()}
    if missing := [name for name in wanted if name not in found]:
        takes = ", ".join(f"{each.name} ({' x '.join(map(str, each.shape))})" for each in inputs)
        hint = "Name an array after each input, and the classes y; or the same with _train, _val and _test behind."
        if LABEL_ARRAYS & {*missing}:
            hint = (
                f"y and labels are those of the classes: name the inputs {ORDERED}1 to {ORDERED}{len(inputs)} instead."
            )
        raise DataError(
            f"{path} has no array for {', '.join(missing)}: the model takes {takes}; the file has {', '.join(stems)}.",
            hint,
        )
    return tuple(found[name] for name in wanted)
