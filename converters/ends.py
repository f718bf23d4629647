"""Which of the outputs of a model that others made is kept."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from edgepress.runtime.errors import InputError

LOGITS = "logits"
"""The value of `--output` that leaves the last softmax or sigmoid off."""
IF_ANY = "?"
"""Ends the name of an output that is wanted only if the model has it."""


def chosen_output(where: str, outputs: Mapping[str, bool], wanted: str, inner: Collection[str] = ()) -> str | None:
    """The name of the output to keep of several; None if there is one, or if it is not known which is meant.

    Args:
        where: The file, for messages.
        outputs: By name, whether it is of real numbers; labels, which some classifiers return as well, are not.
        wanted: The name that the user gave; "" for the only output of real numbers. With `IF_ANY` behind it, the only
            one of real numbers is meant if there is none of this name; a value inside the model is never taken for it.
        inner: Names of values inside the model, which can be given, too.

    Raises:
        InputError: There is no output of the name given.
    """
    if wanted.endswith(IF_ANY) and wanted not in {*outputs, *inner}:
        name = wanted.removesuffix(IF_ANY)
        wanted = name if name in outputs else ""
    if wanted in inner:
        return wanted
    if wanted and wanted not in outputs:
        hint = f"Accepted for --output: {', '.join(outputs)}."
        if wanted == LOGITS:
            hint += " Only edgepress convert takes logits to leave the last softmax or sigmoid to the runtime."
        raise InputError(f"{where} has no output {wanted!r}.", hint)
    floats = [name for name, real in outputs.items() if real]
    if len(outputs) < 2 or not (wanted or len(floats) == 1):
        return None
    return wanted or floats[0]


def chosen_note(chosen: str, names: Iterable[str], wanted: str) -> str:
    """A remark on which output was kept."""
    others = ", ".join(name for name in names if name != chosen)
    why = "as given" if chosen in (wanted, wanted.removesuffix(IF_ANY)) else "the only one of real numbers"
    return f"output: {chosen}, {why}; {others} left out"
