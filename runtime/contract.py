"""The contract: a description of the model inside its file, so that a board needs only that file.

It is stored in the file: a `.tflite` carries it as `edgepress.json` in a zip that is appended to the flatbuffer, an
`.onnx` in its `metadata_props`, a `.keras` (which is a zip) as a member. This module defines it, parses it and reads
it from the zip formats, with the standard library only; `edgepress.converters.contract.write` writes it.

    >>> from edgepress.runtime import read_contract
    >>> read_contract("model-int8.tflite").labels       # doctest: +SKIP
    ('0', '1', ...)
"""

from __future__ import annotations

import dataclasses
import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from edgepress.runtime.adapter import Adapter, adapter_from
from edgepress.runtime.errors import ModelFileError, first_line
from edgepress.runtime.resize import Resize, resize_rule

SCHEMA_VERSION = 2
"""Newest version that is read; a contract has the lowest one that says all of it."""
MEMBER = "edgepress.json"
"""Name of the contract in a zip, and of its key in ONNX `metadata_props`."""
LABELS_MEMBER = "labels.txt"
MAX_BYTES = 4 << 20
"""Larger contracts are refused, which limits what a hostile file can make us read."""
_OLD_ITEM_BY_ITEM = ("onnx-dynamic",)
_OLD_TOLERANCE = {"float32": 0.03, "float16": 0.03, "int8": 2.0, "int16x8": 2.0, "onnx-float16": 3.0}
"""`item_by_item`, and `tolerance_steps` by scheme or precision, of files from before contracts held them."""

Task = Literal["softmax", "logits", "sigmoid", "multilabel", "none"]
InputType = Literal["uint8", "float32", "int8", "int16", "int32", "int64"]
Color = Literal["grey", "rgb"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputSpec:
    """What one item looks like as the file takes it.

    Attributes:
        shape: Shape of an item, without the batch: (height, width, channels) of an image, anything else of a tensor.
        dtype: "uint8" for pixels; for tensors "float32", or an integer type, as for tokens.
        color: "grey" (1 channel) or "rgb" (3) for images; None if items are tensors.
        resize: How an image of another size is fitted: "stretch" ignores its aspect ratio, "crop" fills the frame and
            cuts off the rest, "crop:F" shows only the share F of each side of what "crop" shows, about its center,
            "pad" shows the whole image on black.
        value_range: Smallest and largest value that an item may hold, (0, 255) for pixels; None if unbounded.
    """

    shape: tuple[int, ...]
    dtype: InputType = "uint8"
    color: Color | None = None
    resize: Resize = "stretch"
    value_range: tuple[float, float] | None = None

    @property
    def is_image(self) -> bool:
        """Whether items are images."""
        return self.color is not None

    @property
    def is_integer(self) -> bool:
        """Whether items are tensors of whole numbers."""
        return self.color is None and self.dtype != "float32"

    @property
    def limits(self) -> tuple[float, float]:
        """Smallest and largest value of made-up items: the value range; if unbounded, one that the type holds."""
        return self.value_range or {"float32": (-1.7254, 1.7254), "uint8": (0.0, 255.0)}.get(self.dtype, (0.0, 127.0))

    @classmethod
    def image(cls, height: int, width: int, color: Color, resize: Resize = "stretch") -> InputSpec:
        """The input of a model that takes raw uint8 pixels, 0-255, height x width x channels."""
        channels = 1 if color == "grey" else 3
        return cls(shape=(height, width, channels), color=color, resize=resize, value_range=(0.0, 255.0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataRecord:
    """The data that a model was trained on.

    `source` is the value of `--data`, a name or a path; `sha256` is over every item's content hash and label; `counts`
    are the items by split: "train", "val", "test".
    """

    source: str
    sha256: str
    counts: Mapping[str, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verification:
    """How far a file's answers were from its source model's when it was made.

    `items` of the data set `on` ("seeded" if none) were compared. `agreement` is the share with the same top label,
    0-1, None for a model without labels; `max_error` and `mean_error` are absolute, `largest` is the source model's
    largest absolute answer. If `varies` is false, the source model's answers were nearly the same for all items, and
    the figures prove little.

    The others are of the numbers before softmax or sigmoid, and None if unknown. `sqnr_db` is the signal to the noise,
    dB, None if there was no noise, or if probabilities are `saturated`, so that nothing is known of these numbers.
    `spread_db` is the spread between items to the noise, and `offset_db` to the part of it that all items share.
    `weighted_agreement` is agreement beyond chance, weighted by the model's certainty, at most 1, and `agreement_error`
    its standard error. `rounded_db`, `rounded_offset_db` and `rounded_agreement` are these beside the source model with
    weights rounded to eight bits. `slope` and `correlation` relate the answers to the source model's, 1 at best;
    `relative_error` is the largest error as a share of the largest number, and `end_error` the largest error of softmax
    or sigmoid itself.
    """

    items: int
    on: str
    agreement: float | None
    max_error: float
    mean_error: float
    largest: float
    sqnr_db: float | None
    varies: bool = True
    saturated: bool = False
    weighted_agreement: float | None = None
    agreement_error: float | None = None
    rounded_agreement: float | None = None
    spread_db: float | None = None
    rounded_db: float | None = None
    offset_db: float | None = None
    rounded_offset_db: float | None = None
    slope: float | None = None
    correlation: float | None = None
    relative_error: float | None = None
    end_error: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelfTest:
    """Answers of the workstation's `engine` (name and version) for a board to repeat: see `edgepress.runtime.selftest`.

    `seeds` make the items. `scores` are base64 of little-endian uint16, item by item, 0 being `low` and 65535 `high`,
    of the outputs with the indices `columns` (empty: of all); `top` is each item's largest output. `step` is the scale
    of a quantized output, `logit_step` that of the quantized numbers in front of softmax or sigmoid; 0 if there are
    none. An answer may differ by `tolerance_steps`.
    """

    engine: str
    seeds: tuple[int, ...]
    columns: tuple[int, ...]
    scores: str
    top: tuple[int, ...]
    step: float = 0.0
    logit_step: float = 0.0
    tolerance_steps: float = 16.0
    low: float = 0.0
    high: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contract:
    """The description of a model, stored in its file.

    Attributes:
        task: What the outputs of the file mean. "softmax": one probability per class, summing to 1. "logits": the same
            before softmax, which the runtime applies. "sigmoid": one output, the probability of the second of two
            labels. "multilabel": an independent probability for each label. "none": anything else, such as what an
            autoencoder restores; there are no labels.
        labels: Class names, in the order of the outputs; for "sigmoid" the negative and the positive one; empty for
            "none".
        input: What one item looks like.
        scheme: Name in the converters' scheme table, or "keras" for the source model; `arch` is its architecture.
        parent_sha256: SHA-256 of the source model's file; empty in the source model itself.
        test_accuracy: Accuracy of the source model on the test split of `data`, 0-1, if it was measured.
        threshold: Probability from which a label counts as present ("sigmoid", "multilabel"); None means 0.5.
        verification: How far its answers were from the source model's; `selftest` has answers for a board to repeat.
        tools: Versions of the packages that made the file.
        output_shape: Shape of the output for one item, without the batch; empty unless the task is "none".
        item_by_item: Whether items must be answered one at a time: the others of a batch would change the answers.
        adapter: What the runtime does around the file; None if the file takes these items and `task` is true as it is.
        schema_version: Version of this structure. Unknown fields are ignored; a newer version is refused. It is 2 with
            an `adapter`, which a reader must not ignore, else 1.
    """

    task: Task
    labels: tuple[str, ...]
    input: InputSpec
    scheme: str
    arch: str = ""
    parent_sha256: str = ""
    test_accuracy: float | None = None
    data: DataRecord | None = None
    threshold: float | None = None
    verification: Verification | None = None
    selftest: SelfTest | None = None
    tools: Mapping[str, str] = dataclasses.field(default_factory=dict)
    item_by_item: bool = False
    output_shape: tuple[int, ...] = ()
    adapter: Adapter | None = None
    schema_version: int = 1

    @property
    def outputs(self) -> int:
        """Number of outputs that the file has: one a label, but a single one for "sigmoid"."""
        return {"sigmoid": 1, "none": math.prod(self.output_shape)}.get(self.task, len(self.labels))

    def replace(self, **changes: Any) -> Contract:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_json(self) -> str:
        """The contract as one compact line of JSON."""
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes, *, where: str = "the contract") -> Contract:
        """Parse and check what `to_json` wrote, perhaps by a newer edgepress; `where` names its place in errors.

        Raises:
            ModelFileError: It is not JSON, a field is missing or of a wrong type, or `schema_version` is newer.
        """
        try:
            if not isinstance(raw := json.loads(text), dict):
                raise TypeError("it is not an object")
            version = raw.get("schema_version", 0)
            if not isinstance(version, int) or version < 1:
                raise TypeError(f"schema_version is {version!r}")
            if version > SCHEMA_VERSION:
                raise ModelFileError(
                    f"{where} has contract version {version}; this edgepress reads up to {SCHEMA_VERSION}.",
                    "Upgrade edgepress on this machine.",
                )
            parsed = {
                "input": _input_spec(raw["input"]),
                "data": _part(DataRecord, raw.get("data")),
                "verification": _part(Verification, raw.get("verification")),
                "selftest": _selftest(raw.get("selftest"), raw.get("scheme")),
                "adapter": adapter_from(raw.get("adapter"), raw["input"]["shape"]),
            }
            return cls(**_known(cls, {"item_by_item": raw.get("scheme") in _OLD_ITEM_BY_ITEM} | raw, **parsed))
        except ModelFileError:
            raise
        except Exception as e:  # no list would be complete: numbers too large for a float are an OverflowError
            reason = f"missing {e}" if isinstance(e, KeyError) else e
            raise ModelFileError(
                f"{where} is not a valid edgepress contract: {reason}.", "Convert the model again."
            ) from e

    def __post_init__(self) -> None:
        if self.task not in get_args(Task):
            raise ValueError(f"task is {self.task!r}, accepted: {', '.join(get_args(Task))}")
        if not isinstance(self.labels, (list, tuple)) or not all(isinstance(v, str) for v in self.labels):
            raise TypeError("labels are not a list of strings")
        if not isinstance(self.scheme, str):
            raise TypeError("scheme is not a string")
        if self.task == "sigmoid" and len(self.labels) != 2:
            raise ValueError(f"a sigmoid model has 2 labels, negative and positive; found {len(self.labels)}")
        sizes = tuple(self.output_shape)
        if not all(type(n) is int and 0 < n < 1 << 24 for n in sizes):
            raise ValueError(f"output shape is {list(sizes)}")
        if (self.task == "none") != bool(sizes) or (sizes and self.labels):
            raise ValueError(f"the task {self.task} has {len(self.labels)} labels and output shape {list(sizes)}")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold is {self.threshold}, accepted: 0 to 1")
        object.__setattr__(self, "labels", tuple(self.labels))
        object.__setattr__(self, "output_shape", sizes)
        object.__setattr__(self, "schema_version", 1 if self.adapter is None else 2)


def _known(cls: type, raw: Mapping[str, Any], **parsed: Any) -> dict[str, Any]:
    names = {f.name for f in dataclasses.fields(cls)}
    return {k: v for k, v in raw.items() if k in names} | parsed


def _input_spec(raw: Any) -> InputSpec:
    spec = InputSpec(**_known(InputSpec, raw, shape=tuple(raw["shape"])))
    if not spec.shape or not all(isinstance(n, int) and 0 < n < 1 << 24 for n in spec.shape):
        raise ValueError(f"input shape is {list(spec.shape)}")
    if spec.dtype not in get_args(InputType):
        raise ValueError(f"input dtype is {spec.dtype!r}, accepted: {', '.join(get_args(InputType))}")
    if spec.color not in (*get_args(Color), None):
        raise ValueError(f"input color is {spec.color!r}")
    if spec.is_image and spec.dtype != "uint8":
        raise ValueError(f"input dtype is {spec.dtype!r}, but images are uint8")
    resize_rule(spec.resize)
    if spec.is_image and (len(spec.shape) != 3 or spec.shape[2] != (1 if spec.color == "grey" else 3)):
        raise ValueError(f"input shape {list(spec.shape)} does not fit color {spec.color!r}")
    if spec.value_range is not None:
        low, high = (float(v) for v in spec.value_range)
        spec = dataclasses.replace(spec, value_range=(low, high))
    return spec


def _part(cls: type, raw: Any) -> Any:
    return None if raw is None else cls(**_known(cls, raw))


def _selftest(raw: Any, scheme: Any) -> SelfTest | None:
    if raw is None:
        return None
    old = _OLD_TOLERANCE.get(scheme) or _OLD_TOLERANCE.get(str(scheme).partition("-")[2], SelfTest.tolerance_steps)
    test: SelfTest = _part(SelfTest, {"tolerance_steps": old} | raw)
    seeds, columns, top = tuple(test.seeds), tuple(test.columns), tuple(test.top)
    numbers = test.step, test.logit_step, test.tolerance_steps
    whole = all(type(n) is int and n >= 0 for n in (*seeds, *columns, *top))
    steps = all(isinstance(v, (int, float)) and 0 <= v < 1e6 for v in numbers) and 0 < test.high - test.low < 1e30
    if not (whole and steps and 0 < len(seeds) == len(top) and isinstance(test.scores, str)):
        raise ValueError("its self-test is damaged")
    return dataclasses.replace(test, seeds=seeds, columns=columns, top=top)


def read_contract(path: str | Path) -> Contract | None:
    """The contract inside a `.tflite` or `.keras` file, None if it has none; an `.onnx` file's is read by its engine.

    Raises:
        ModelFileError: The file can't be read, or holds a contract that is damaged or too new.
    """
    path = Path(path)
    try:
        file = path.open("rb")
    except OSError as e:
        raise ModelFileError(f"{path} can't be read: {e.strerror or e}.", "Check the path.") from e
    try:
        with file, zipfile.ZipFile(file) as archive:
            if MEMBER not in archive.namelist():
                return None
            if (member := archive.getinfo(MEMBER)).file_size > MAX_BYTES:
                raise ModelFileError(f"{path} holds a contract of {member.file_size} bytes; the limit is {MAX_BYTES}.")
            text = archive.read(member)
    except ModelFileError:
        raise
    except Exception as e:  # zipfile raises what it likes on bytes that only look like a zip
        if MEMBER.encode() in path.read_bytes():  # the name of the member is there, but not the end of the zip
            reason = f"its contract can't be read ({first_line(e)})"
            raise ModelFileError(f"{path} is cut off or damaged: {reason}.", "Copy or convert it again.") from e
        return None  # no zip is appended
    return Contract.from_json(text, where=str(path))
