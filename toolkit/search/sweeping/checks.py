"""What a result of a job must be to enter or leave a store: its fields, their types, ranges, names and lengths.

Results come from workers on other machines and from folders that anybody may have changed, so each field of each kind
of job (`shapes`) is checked, and fields that nobody expects are refused. The kinds of programs of a user's own
("module:function") may hold any JSON object. The store knows the rest: hashes, sizes and the key.

The fields of each kind of result of a job: types, ranges, names and lengths, for `checks`.

Of the steps of `compress`, too, which keeps its results in the same kind of store.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from edgepress.converters.schemes import SCHEMES
from edgepress.runtime.contract import Verification
from edgepress.runtime.engines import PACKAGED

MOST_EPOCHS = 1_000_000
"""Most rows of a history."""

Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Seconds = Annotated[float, Field(ge=0)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(min_length=1, max_length=255)]
Text = Annotated[str, Field(max_length=10_000)]
Base64 = Annotated[str, Field(pattern=r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$")]


class StrictObject(BaseModel):
    """A JSON object whose fields are all known: numbers are finite, and no value is turned into another type."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


def _object(base: type[StrictObject] = StrictObject, **fields: Any) -> type[StrictObject]:
    """A JSON object with these fields; one that is a pair of type and default may be missing."""
    pairs: dict[str, Any] = {
        name: field if isinstance(field, tuple) else (field, ...) for name, field in fields.items()
    }
    return create_model("Object", __base__=base, **pairs)


@dataclasses.dataclass(frozen=True)
class Shape:
    """What a kind of job returns.

    Attributes:
        result: Its result.
        made: What differs between two runs.
        files: The names of its files; None: any.
        roles: The roles of its files, for steps of `compress`; None: any.
    """

    result: type[StrictObject]
    made: type[StrictObject]
    files: frozenset[str] | None = None
    roles: frozenset[str] | None = None


MADE = _object(
    host=Annotated[str, Field(max_length=255)],
    seconds=Seconds,
    created=Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$")],
)
"""What differs between two runs of a job of a sweep."""
STEP = _object(files=dict[Name, Name])
"""A step of `compress`: the files by their roles."""
TAKEN = _object(seconds=Seconds)
"""What differs between two runs of a step."""
EPOCH = _object(
    epoch=Annotated[float, Field(ge=1, le=MOST_EPOCHS)],
    loss=float,
    accuracy=Annotated[float, Field(ge=0, le=1.001)],
    val_loss=float,
    val_accuracy=Share,
    learning_rate=Seconds,
)
"""A row of a history."""
HISTORY = Annotated[list[EPOCH], Field(min_length=1, max_length=MOST_EPOCHS)]  # type: ignore[valid-type]
TRAIN = _object(
    accuracy=Share,
    val_accuracy=Share,
    parameters=Count,
    best_epoch=Annotated[int, Field(ge=1, le=MOST_EPOCHS)],
    epochs_run=Annotated[int, Field(ge=1, le=MOST_EPOCHS)],
    weights_sha256=Hash,
    history=HISTORY,
)
"""See `work.train`."""
CONVERT = _object(
    scheme=Name,
    file=Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,127}$")],
    size_bytes=Annotated[int, Field(ge=1, lt=1 << 63)],
    proof=_object(**get_type_hints(Verification)) | None,
    val_accuracy=Share,
    val_correct=(Base64, ""),
    accuracy=Share,
    engine=Name,
    answers_sha256=Hash,
    test_items=Count,
    notes=Annotated[list[Text], Field(max_length=1000)],
)
"""See `work.convert`."""
TIME = _object(
    load_ms=Seconds,
    min_us=Positive,
    p50_us=Positive,
    p90_us=Positive,
    p99_us=Positive,
    rounds=Annotated[int, Field(ge=1, le=1_000_000)],
    round_medians_us=Annotated[list[Positive], Field(min_length=1, max_length=1_000_000)],
    memory_bytes=Count | None,
    noisy=bool,
    noise=Annotated[list[Text], Field(max_length=100)],
    engine=Name,
)
"""See `work.time`."""
FINAL = _object(
    STEP,
    items=Count,
    accuracy=Share,
    float_accuracy=Share,
    drop_pp=float,
    drop_low_pp=float,
    drop_high_pp=float,
    lost=Count,
    gained=Count,
    weak_source=Text | None,
    expected_lost=Share | None,
)
"""See `compression.measure.Measurer.final`."""
ROUNDS = _object(
    TAKEN,
    rounds=Annotated[list[Annotated[list[Positive], Field(min_length=1, max_length=100_000)]], Field(min_length=1)],
    memory=(Count | None, None),
    noisy=(bool, False),
)
"""Median latencies of files by rounds, microseconds."""
TUNED = _object(bits=Annotated[int, Field(ge=1, le=64)], steps=Count)
PRUNED = _object(macs=Seconds, parameters=Seconds)
DISTILLED = _object(arch=Name, width=Positive, epochs=Count)
_MODEL = frozenset({"model"})
SHAPES = {
    "train": Shape(TRAIN, _object(MADE, training_seconds=Seconds), frozenset({"model.keras", "metrics.json"})),
    "part": Shape(_object(history=HISTORY), MADE),
    "convert": Shape(CONVERT, _object(MADE, converting_seconds=Seconds)),
    "time": Shape(TIME, MADE, frozenset()),
    "compress-convert": Shape(_object(STEP, errors=dict[Name, Text]), TAKEN),
    "compress-tune": Shape(_object(STEP, facts=TUNED), TAKEN, roles=_MODEL),
    "compress-prune": Shape(_object(STEP, facts=PRUNED), TAKEN, roles=_MODEL),
    "compress-distil": Shape(_object(STEP, facts=DISTILLED), TAKEN, roles=_MODEL),
    "compress-probe": Shape(STEP, TAKEN, roles=_MODEL),
    "compress-final": Shape(FINAL, TAKEN),
    "compress-accuracy": Shape(_object(STEP, correct=Base64, expected_lost=Share | None), TAKEN),
    "compress-latency": Shape(STEP, ROUNDS),
    "compress-footprint": Shape(_object(STEP, ram=Count, flash=Count), TAKEN),
}
"""The kinds of jobs of edgepress."""


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
