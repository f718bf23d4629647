"""What a result must be before it enters a store, and when it is read from one: types, ranges, names and lengths.

Results come from workers on other machines and from folders that anybody may have changed, so each field of each kind
of job (`shapes`) is checked, and fields that nobody expects are refused. The kinds of programs of a user's own
("module:function") may hold any JSON object. The store knows the rest: hashes, sizes and the key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from edgepress.converters.schemes import SCHEMES
from edgepress.runtime.engines import PACKAGED
from edgepress.toolkit.sweeping.shapes import SHAPES, Shape

DEEPEST = 32
"""Levels of a JSON value at most: Python's functions for JSON call themselves once a level."""
NAME_BYTES = 255
"""Longest name of a file."""
NO_NAME = re.compile(r"\.{0,2}|.*[\x00-\x1f\x7f/\\].*", re.DOTALL)
"""What is not a plain name of a file."""


def require_sound(
    job: Mapping[str, Any], result: Mapping[str, Any], made: Mapping[str, Any], sizes: Mapping[str, int | None]
) -> None:
    """Check a result.

    Args:
        job: The job.
        result: What it found.
        made: What differs between two runs of it.
        sizes: The sizes of its files by their names, bytes; None where it is not known.

    Raises:
        ValueError: A field is wrong; the message names it, what was found, and what is accepted.
    """
    whole = {"job": job, "result": result, "made": made}
    if not all(isinstance(value, Mapping) for value in whole.values()):
        raise ValueError("its job, result or what was made is no JSON object")
    if _depth(whole) > DEEPEST:
        raise ValueError(f"it is nested in more than {DEEPEST} levels")
    text = json.dumps(whole, allow_nan=False, ensure_ascii=False)
    text.encode()  # no NaN, and no half characters
    whole = json.loads(text)  # as a store holds it: a tuple is a list there
    job, result, made = whole.values()
    if wrong := [name for name in sizes if NO_NAME.fullmatch(name) or len(name.encode()) > NAME_BYTES]:
        raise ValueError(f"files.{wrong[0][:80]!r} is not a plain file name")
    if len({name.casefold() for name in sizes}) < len(sizes):
        raise ValueError("two of its files have the same name")
    kind = job.get("kind")
    shape = SHAPES.get(kind) if isinstance(kind, str) and isinstance(job.get("arguments"), Mapping) else None
    if shape is None:
        return
    for what, model in (("result", shape.result), ("made", shape.made)):
        try:
            model.model_validate(dict(whole[what]))
        except ValidationError as e:
            raise ValueError(_describe_first(what, e)) from e
    for reason in _contradictions(job, result, made, sizes, shape=shape):
        raise ValueError(reason)


def _contradictions(
    job: Mapping[str, Any],
    result: Mapping[str, Any],
    made: Mapping[str, Any],
    sizes: Mapping[str, int | None],
    *,
    shape: Shape,
) -> Iterator[str]:
    """What contradicts something else, in words; every field by itself is right."""
    kind = job["kind"]
    arguments = job["arguments"]
    names = set(sizes)
    needed = {result["file"]} if kind == "convert" else shape.files
    if needed is not None and names != needed:
        yield f"its files are {sorted(names)}; accepted: {sorted(needed)}"
    if kind == "part" and names - {"checkpoint.npz"}:
        yield f"its files are {sorted(names)}; accepted: checkpoint.npz"
    if kind == "train" and len(result["history"]) != result["epochs_run"]:
        yield f"result.epochs_run is {result['epochs_run']}, but the history has {len(result['history'])} rows"
    if kind == "train" and result["best_epoch"] > result["epochs_run"]:
        yield f"result.best_epoch is {result['best_epoch']} of {result['epochs_run']}"
    if kind == "convert" and (result["scheme"] != arguments.get("scheme") or result["scheme"] not in SCHEMES):
        yield f"result.scheme is {result['scheme']!r}; accepted: {arguments.get('scheme')}"
    if kind == "convert" and sizes[result["file"]] not in (None, result["size_bytes"]):
        yield f"result.size_bytes is {result['size_bytes']}, but the file has {sizes[result['file']]} bytes"
    if kind in ("convert", "time") and result["engine"] not in PACKAGED:
        yield f"result.engine is {result['engine'][:80]!r}; accepted: {', '.join(PACKAGED)}"
    if kind.startswith("compress-") and set(result["files"].values()) != names:
        yield f"result.files names {sorted(result['files'].values())}, but the files are {sorted(names)}"
    if shape.roles is not None and set(result["files"]) != shape.roles:
        yield f"result.files has {sorted(result['files'])}; accepted: {sorted(shape.roles)}"
    if kind == "compress-latency":
        lengths = [len(each) for each in made["rounds"]]
        if len(lengths) != len(arguments.get("files", ())) or len(set(lengths)) != 1:
            yield f"made.rounds has {lengths} rounds for {len(arguments.get('files', ()))} files"


def _depth(value: Any) -> int:
    if isinstance(value, Mapping):
        return 1 + max(map(_depth, value.values()), default=0)
    return 1 + max(map(_depth, value), default=0) if isinstance(value, (list, tuple)) else 0


def _describe_first(what: str, error: ValidationError) -> str:
    """The first wrong field, what was found there, and what is accepted."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part)[:40] for part in (what, *first["loc"]))
    return f"{place} is {str(first['input'])[:80]!r}: {first['msg'][:1].lower()}{first['msg'][1:]}"
