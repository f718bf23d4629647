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
import os
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from edgepress.runtime.acceptance import Acceptance, AnswerLimits, Temperature, Unknown
from edgepress.runtime.adapter import Adapter, adapter_from
from edgepress.runtime.data_record import DataRecord, data_record_from
from edgepress.runtime.drift import DriftReference
from edgepress.runtime.errors import InputError, ModelFileError, parsing
from edgepress.runtime.filetypes import open_regular
from edgepress.runtime.input_spec import InputSpec, input_spec_from, record

if TYPE_CHECKING:
    from edgepress.runtime.sound.features import FrameFeatures
    from edgepress.runtime.sound.listen_options import ListenOptions

SCHEMA_VERSION = 7
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verification:
    """How far a file's answers were from its source model's when it was made.

    `items` of the data set `on` ("seeded" if none) were compared. `agreement` is the share with the same top label,
    0-1, None for a model without labels; `max_error` and `mean_error` are absolute, `largest` is the source model's
    largest absolute answer. If `varies` is false, the source model's answers were nearly the same for all items, and
    the figures prove little.

    The others are of the numbers before softmax or sigmoid, and None if unknown. `sqnr_db` is the signal to the noise,
    dB, None if there was no noise, or if probabilities are `saturated`, so that nothing is known of these numbers.
    `spread_db` is the spread between items to the noise, `relative_error` the largest error as a share of the largest
    number, and `end_error` the largest error of softmax or sigmoid itself.

    `lost` is the share of right answers that the file is expected to lose, 0-1, from the labels of its final answers
    and the source model's certainty; `lost_low` and `lost_high` are its one-sided bounds of 90 %, and `lost_by_chance`
    is what the same answers to other items would lose.
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
    lost: float | None = None
    lost_low: float | None = None
    lost_high: float | None = None
    lost_by_chance: float | None = None
    spread_db: float | None = None
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
        threshold: Decision threshold of a label, as a probability ("sigmoid", "multilabel"); None means 0.5.
        verification: How far its answers were from the source model's; `selftest` has answers for a board to repeat.
        made_with: The data that it was calibrated and verified on, of a model whose training data are not known; their
            test items were not used. `sha256` is empty if only a part of them was read.
        tools: Versions of the packages that made it.
        output_shape: Shape of the output for one item, without the batch; empty unless the task is "none".
        item_by_item: Whether items must be answered one at a time: the others of a batch would change the answers.
        target: What it was made for, "cpu" or "integer-only" (no float operation).
        rewrites: Names of changes to its graph that make it faster there.
        compression: How it was compressed and repaired, with the gain.
        ranges: Ranges of tensors by name, learned by `edgepress tune`.
        adapter: What the runtime does around the file; None if the file takes these items and `task` is true as it is.
        probability: How scores become calibrated probabilities; None if they are taken as they are.
        accept: Which answers are accepted, and what is promised of them; None if all are.
        unknown: What known items look like; an answer to others is not accepted.
        drift: How certain answers to known items are, to notice that images change; None if it was not measured.
        sound: The front end that makes its input of sound, (frames, channels); None if its items are no sound.
        listen: When a label of a stream of sound is heard; None: as usual.
        schema_version: Version of this structure. Unknown fields are ignored; a newer version is refused. It is 7 with
            `sound` of another front end than the integer one, 6 with `sound` of that, 5 of several inputs
            (`edgepress.runtime.input_record`), 4 with a slope of `probability`, 3 with `probability`, `accept` or
            `unknown`, 2 with an `adapter`, which a reader must not ignore, else 1.
    """

    task: Task
    labels: tuple[str, ...]
    input: InputSpec
    scheme: str
    arch: str = ""
    parent_sha256: str = ""
    test_accuracy: float | None = None
    data: DataRecord | None = None
    made_with: DataRecord | None = None
    threshold: float | None = None
    verification: Verification | None = None
    selftest: SelfTest | None = None
    tools: Mapping[str, str] = dataclasses.field(default_factory=dict)
    item_by_item: bool = False
    output_shape: tuple[int, ...] = ()
    target: str = "cpu"
    rewrites: tuple[str, ...] = ()
    compression: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    adapter: Adapter | None = None
    probability: Temperature | None = None
    accept: Acceptance | None = None
    unknown: Unknown | None = None
    drift: DriftReference | None = None
    sound: FrameFeatures | None = None
    listen: ListenOptions | None = None
    schema_version: int = 1

    @property
    def outputs(self) -> int:
        """Number of outputs that the file has: one a label, but a single one for "sigmoid"."""
        return {"sigmoid": 1, "none": math.prod(self.output_shape)}.get(self.task, len(self.labels))

    @property
    def known_data(self) -> DataRecord | None:
        """The data that commands open where none are named: those that it was trained on, or else made with."""
        return self.data or self.made_with

    @property
    def limits(self) -> AnswerLimits:
        """What it says of the file's answers."""
        return AnswerLimits(self.probability, self.accept, self.unknown)

    def without_limits(self) -> Contract:
        """The same without what was measured of one file's answers, for another file."""
        return self.replace(probability=None, accept=None, unknown=None, drift=None, listen=None)

    def replace(self, **changes: Any) -> Contract:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_json(self) -> str:
        """The contract as one compact line of JSON; bytes of file names that are not a text become escapes of it."""
        text = json.dumps(dataclasses.asdict(self), separators=(",", ":"), ensure_ascii=False)
        return text.encode(errors="backslashreplace").decode()

    @classmethod
    def from_json(cls, text: str | bytes, *, where: str = "the contract") -> Contract:
        """Parse and check what `to_json` wrote, perhaps by a newer edgepress; `where` names its place in errors.

        Raises:
            ModelFileError: It is not JSON or longer than 4 MiB, a field is missing or of a wrong type, or
                `schema_version` is newer.
        """
        with parsing(where, "Convert the model again.", failed="is not a valid edgepress contract"):
            if len(text) > MAX_BYTES:
                raise ValueError(f"it is longer than {MAX_BYTES} bytes")
            if not isinstance(raw := json.loads(text, parse_float=_finite, parse_constant=_finite), dict):
                raise ValueError("it is not an object")
            version = raw.get("schema_version", 0)
            if not isinstance(version, int) or version < 1:
                raise ValueError(f"schema_version is {version!r}")
            if version > SCHEMA_VERSION:
                raise ModelFileError(
                    f"{where} has contract version {version}; this edgepress reads up to {SCHEMA_VERSION}.",
                    "Upgrade edgepress on this machine.",
                )
            scheme = raw.get("scheme")
            contract: Contract = record(
                cls,
                {"item_by_item": scheme in _OLD_ITEM_BY_ITEM} | raw,
                input=_input_from,
                data=data_record_from,
                made_with=data_record_from,
                verification=partial(record, Verification),
                selftest=partial(_selftest, scheme=scheme),
                adapter=lambda adapter: adapter_from(adapter, raw["input"]["shape"]),
                probability=partial(record, Temperature),
                accept=partial(record, Acceptance),
                unknown=partial(record, Unknown),
                drift=partial(record, DriftReference),
                sound=_sound_from,
                listen=_listen_from,
            )
            return contract

    def __post_init__(self) -> None:
        if self.task not in get_args(Task):
            raise ValueError(f"task is {self.task!r}, accepted: {', '.join(get_args(Task))}")
        for name, texts in (("labels", self.labels), ("rewrites", self.rewrites)):
            if not isinstance(texts, (list, tuple)) or not all(isinstance(v, str) for v in texts):
                raise TypeError(f"{name} are not a list of strings")
            "".join(texts).encode()  # a ValueError if one holds half of a surrogate pair, which no file can
            object.__setattr__(self, name, tuple(texts))
        if not (isinstance(self.scheme, str) and isinstance(self.target, str) and isinstance(self.compression, dict)):
            raise TypeError("scheme, target or compression is of a wrong type")
        object.__setattr__(self, "ranges", _ranges(self.ranges))
        if self.task == "sigmoid" and len(self.labels) != 2:
            raise ValueError(f"a sigmoid model has 2 labels, negative and positive; found {len(self.labels)}")
        sizes = tuple(self.output_shape)
        if not all(type(n) is int and 0 < n < 1 << 24 for n in sizes):
            raise ValueError(f"output shape is {list(sizes)}")
        if (self.task == "none") != bool(sizes) or (sizes and self.labels):
            raise ValueError(f"the task {self.task} has {len(self.labels)} labels and output shape {list(sizes)}")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold is {self.threshold}, accepted: 0 to 1")
        object.__setattr__(self, "output_shape", sizes)
        limited = self.limits != AnswerLimits()
        if limited and self.task not in ("softmax", "logits", "sigmoid"):
            raise ValueError(f"the task {self.task} has no classes that exclude each other")
        if self.unknown is not None and self.unknown.labels != len(self.labels):
            raise ValueError(f"references of {self.unknown.labels} labels; it has {len(self.labels)}")
        sloped = self.probability is not None and self.probability.slope != 0
        several = hasattr(self.input, "inputs")
        if several and self.adapter is not None:
            raise ValueError("an adapter is for one input")
        if self.sound is not None:
            self.sound.require_window(() if several else self.input.shape)
        elif self.listen is not None:
            raise ValueError("it says when sounds are heard, and takes none")
        others = self.sound is not None and self.sound.kind != "integer"
        needs = (self.adapter is not None, limited, sloped, several, self.sound is not None, others)
        version = 1 + max((place for place, needed in enumerate(needs, 1) if needed), default=0)
        object.__setattr__(self, "schema_version", version)


def _input_from(raw: Any) -> InputSpec:
    if not isinstance(raw, dict) or "inputs" not in raw:
        return input_spec_from(raw)
    from edgepress.runtime.input_record import input_record_from

    return input_record_from(raw)


def _sound_from(raw: Any) -> FrameFeatures:
    from edgepress.runtime.sound.features import INTEGER, KINDS

    kind = raw.get("kind", INTEGER) if isinstance(raw, dict) else INTEGER  # which older contracts do not name
    if not (isinstance(kind, str) and kind in KINDS):
        raise ValueError(f"its front end is {str(kind)[:40]!r}, accepted: {', '.join(KINDS)}")
    features: FrameFeatures = record(KINDS[kind], raw)
    return features


def _listen_from(raw: Any) -> ListenOptions:
    from edgepress.runtime.sound.listen_options import ListenOptions

    try:
        options: ListenOptions = record(ListenOptions, raw)
    except InputError as e:
        raise ValueError(e.message) from e
    return options


def _finite(text: str) -> float:
    """The number that a text in JSON is; NaN and infinities, which Python reads, are none."""
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text[:40]} is not a finite number")
    return number


def _ranges(raw: Any) -> dict[str, tuple[float, float]]:
    ranges = {name: (float(low), float(high)) for name, (low, high) in dict(raw).items()}
    if not all(-math.inf < low <= high < math.inf for low, high in ranges.values()):
        raise ValueError("ranges are not pairs of finite numbers")
    return ranges


def _selftest(raw: Any, scheme: Any) -> SelfTest:
    old = _OLD_TOLERANCE.get(scheme) or _OLD_TOLERANCE.get(str(scheme).partition("-")[2], SelfTest.tolerance_steps)
    test: SelfTest = record(SelfTest, {"tolerance_steps": old} | raw, seeds=tuple, columns=tuple, top=tuple)
    numbers = test.step, test.logit_step, test.tolerance_steps
    whole = all(type(n) is int and n >= 0 for n in (*test.seeds, *test.columns, *test.top))
    steps = all(isinstance(v, (int, float)) and 0 <= v < 1e6 for v in numbers) and 0 < test.high - test.low < 1e30
    if not (whole and steps and 0 < len(test.seeds) == len(test.top) and isinstance(test.scores, str)):
        raise ValueError("its self-test is damaged")
    return test


def contract_in(path: str | os.PathLike[str]) -> Contract:
    """The contract in a JSON file, as `edgepress annotate` writes it.

    Raises:
        ModelFileError: The file can't be read, or the contract is damaged, too long or too new.
    """
    with parsing(path), open_regular(path) as file:
        text = file.read(MAX_BYTES + 1)
    return Contract.from_json(text, where=os.fspath(path))


def read_contract(path: str | Path) -> Contract | None:
    """The contract inside a `.tflite` or `.keras` file, None if it has none; an `.onnx` file's is read by its engine.

    Raises:
        ModelFileError: The file can't be read, or holds a contract that is damaged, too long or too new.
    """
    path = Path(path)
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            if MEMBER not in archive.namelist():
                return None
            with archive.open(MEMBER) as member:
                text = member.read(MAX_BYTES + 1)
    except Exception:  # zipfile raises what it likes on bytes that only look like a zip
        with parsing(path, failed="is cut off or damaged: its contract can't be read"):
            # The name of the member is there, or the beginning of the zip, but not its end.
            if MEMBER.encode() in (data := open_regular(path).read()) or b"PK\x03\x04" in data[-64:]:
                raise
        return None  # no zip is appended
    return Contract.from_json(text, where=str(path))
