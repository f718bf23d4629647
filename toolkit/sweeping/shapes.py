"""The fields of each kind of result of a job: types, ranges, names and lengths, for `checks`.

Of the steps of `compress`, too, which keeps its results in the same kind of store.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model

from edgepress.runtime.contract import Verification

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
