"""What a file is made for, a CPU or hardware that computes in integers alone, and how it is named for it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Literal, get_args

from edgepress.converters.schemes import SCHEMES, Scheme, parse_schemes, scheme_words
from edgepress.runtime.errors import InputError, unknown

Target = Literal["cpu", "integer-only"]
"""`cpu`: any board with an operating system; a file may hold float operations where they are faster. `integer-only`:
microcontrollers, Edge TPU and NPUs; it holds none."""
TARGETS: tuple[Target, ...] = get_args(Target)


def checked_target(text: str) -> Target:
    """A target by its name.

    Raises:
        InputError: There is none of this name.
    """
    if text not in TARGETS:
        raise unknown("target", text, TARGETS)
    return text


def schemes_for(target: Target) -> tuple[str, ...]:
    """Names of the schemes whose files a target can run."""
    integers = (s.name for s in SCHEMES.values() if s.output_dtype == "uint8" and not s.is_mixed)
    return tuple(integers) if target == "integer-only" else tuple(SCHEMES)


_FINER = {
    "int4": ("int8",),
    "int8": ("int16x8", "float16"),
    "mixed": ("int16x8", "float16"),
    "int16x8": ("float16",),
    "dynamic": ("float16",),
    "weights8": ("float16",),
    "float16": ("float32",),
}
"""By precision, those that round less, the smallest files first."""


def finer(scheme: Scheme, target: Target, *, rejected: Collection[str] = ()) -> str:
    """Name of the scheme that rounds less, to be tried next; "" if the target runs none.

    Args:
        scheme: The scheme whose file is not good enough.
        target: What the file is for.
        rejected: Schemes that were tried and are not good enough either.
    """
    for precision in _FINER.get(scheme.precision, ()):
        name = f"{scheme.format}-{precision}"
        if name in rejected:
            name = finer(SCHEMES[name], target, rejected=rejected)
        if name in schemes_for(target):
            return name
    return ""


def schemes_from(schemes: str | Scheme | Iterable[str | Scheme], target: Target) -> tuple[str, ...]:
    """Scheme names, as `parse_schemes` reads it; "all" and formats mean those that the target can run.

    Raises:
        InputError: A name is unknown, none is given, or none of those given is for the target.
    """
    named = parse_schemes(schemes)
    fitting = tuple(name for name in named if name in schemes_for(target))
    words = {*scheme_words(schemes)}
    refuse_other_schemes([name for name in named if name in words] if fitting else named, target)
    return fitting


def refuse_other_schemes(schemes: Sequence[str], target: Target) -> None:
    """Refuse schemes whose files a target can't run.

    Raises:
        InputError: There are such schemes; the message names them.
    """
    if others := [name for name in schemes if name not in schemes_for(target)]:
        raise InputError(
            f"The target {target} does not support float files: {', '.join(others)}.",
            f"Accepted with --target {target}: {', '.join(schemes_for(target))}.",
        )


def file_paths(schemes: Sequence[str], out: Path, stem: str, target: Target) -> dict[str, Path]:
    """Path of each scheme's file: `{stem}-{precision}.{format}`, with the target in front of the dot unless "cpu"."""
    end = "" if target == "cpu" else f"-{target}"
    return {name: out / f"{stem}-{SCHEMES[name].precision}{end}.{SCHEMES[name].format}" for name in schemes}
