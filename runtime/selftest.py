"""Self-test: check that this machine answers as the workstation did when the file was made.

The contract holds the seeds of a few items and the workstation's answers. `seeded_item` makes the same item everywhere,
by integer arithmetic on raw bits of a generator that NumPy guarantees to keep (unlike the methods of `default_rng`).
Differences are counted in steps. A step is the largest change of an answer p that one step of the numbers inside the
file causes: the scale of a quantized output or, if larger, 2 p (1 - p) times the scale of the quantized numbers in
front of softmax or sigmoid; at least 1/256 where the output is not quantized (of a model without labels: 1/256 of the
range of the stored answers). More steps than the contract allows
(docs/runtime.md says why by scheme), or another best label clearly ahead, are a failure.

A bundle's folder holds one model file and optionally `samples/manifest.json`, images that test decoding and resizing:

    {"schema_version": 1, "samples": [{"file": "7.png", "label": "7", "scores": [0.0, 0.00390625, ...]}, ...]}

`file` is an image or a `.npy` item beside the manifest (PNG is best: two JPEG decoders may differ by a grey level);
`label` is the best one and `scores` are those of `Model.scores` on the workstation, in the order of the labels.

Limits: above 64 outputs, only the answers of 64 are stored and compared; none of the others may be the largest.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.runtime import installed
from edgepress.runtime.errors import EdgepressError, InputError, ModelFileError, parsing
from edgepress.runtime.filetypes import open_regular
from edgepress.runtime.input_spec import InputSpec
from edgepress.runtime.model import Model, load

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgepress.runtime.contract import SelfTest

SAMPLE_STEPS = 2.0
"""Additional steps for images, because versions of Pillow decode differently."""
MANIFEST = "samples/manifest.json"


@dataclass(frozen=True)
class Check:
    """One item: its largest difference in steps, None if there is no answer, and a description of the difference."""

    name: str
    passed: bool
    largest_steps: float | None
    detail: str = ""


@dataclass(frozen=True)
class SelfTestReport:
    """All checks of one file on one engine; `reference` is the engine on the workstation, with its version."""

    file: str
    scheme: str
    engine: str
    reference: str
    tolerance_steps: float
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)


def selftest(path: str | Path, engine: str | None = None, contract: str | Path | None = None) -> SelfTestReport:
    """Compare answers with the workstation's, for a model file or the folder of a bundle; `contract` is that of `load`.

    All files of an installed release are compared first with those that were installed.

    Raises:
        ModelFileError: The file can't be opened, or holds no self-test or a damaged one.
        InputError: The folder does not hold exactly one model, or its manifest is damaged; or files of an installed
            release are damaged.
        EngineError, MissingExtraError: As for `load`.
    """
    file = Path(path)
    manifest = None
    if file.is_dir():
        models = sorted(f for f in file.iterdir() if f.suffix in (".tflite", ".onnx"))
        if len(models) != 1:
            raise InputError(
                f"{path} holds {len(models)} model files; a bundle has one.", "Name the model file itself."
            )
        file, manifest = models[0], file / MANIFEST
    _require_whole(file.parent)
    model = load(file, engine, contract=contract)
    if model.contract is None or (test := model.contract.selftest) is None:
        hint = "Convert it again with this edgepress, or, if another tool made it: edgepress annotate."
        raise ModelFileError(f"{file} holds no self-test.", hint)
    tolerance = test.tolerance_steps
    all_columns = range(len(model.labels) or model.contract.outputs)
    columns = list(test.columns or all_columns)
    with parsing(file, failed="holds a damaged self-test"):
        stored = np.frombuffer(base64.b64decode(test.scores, validate=True), "<u2") / 65535
        expected = (test.low + (test.high - test.low) * stored).reshape(len(test.seeds), len(columns))
        if max(*columns, *test.top) not in all_columns:
            raise ValueError(f"it has answers for more than {len(all_columns)} outputs")
    checks = []
    for seed, wanted, top in zip(test.seeds, expected, test.top, strict=True):
        scores = model.answer(seeded_item(model.contract.input, seed))[0].ravel()
        checks.append(_check(f"seed {seed}", test, scores, columns=columns, wanted=wanted, top=top, limit=tolerance))
    limit = tolerance + SAMPLE_STEPS
    for name, wanted, top in _samples(manifest, model) if manifest and manifest.exists() else ():
        try:
            scores = model.scores(model.prepare(name)[np.newaxis])[0]
        except EdgepressError as e:
            checks.append(Check(name.name, False, None, str(e)))
        else:
            checks.append(_check(name.name, test, scores, columns=all_columns, wanted=wanted, top=top, limit=limit))
    return SelfTestReport(str(file), model.contract.scheme, model.engine, test.engine, tolerance, tuple(checks))


def _require_whole(folder: Path) -> None:
    """Refuse a folder that is an installed release with damaged files; `run selftest` has compared them already."""
    is_release = any((folder / name).exists() for name in (installed.SUMS, "interpreter"))
    if not is_release or installed.compared == folder.resolve():
        return
    if damage := installed.damage_of(folder):
        raise InputError(f"{folder} is damaged: {damage}.", installed.HINT)


def seeded_item(spec: InputSpec, seed: int) -> npt.NDArray[Any]:
    """One item, the same on every machine: shape `spec.shape`, dtype `spec.dtype`.

    In three dimensions: 5 x 5 random levels, interpolated, at one of four contrasts (filters would average white noise
    away); otherwise a random level for each value. Levels 0-255 are the pixels of an image; for tensors they are scaled
    to the value range; if there is none, to unit variance for floats, 0-127
    for signed integers. Of several inputs, a record of such items.
    """
    if inputs := getattr(spec, "inputs", ()):
        record = np.empty((), spec.item)
        for number, each in enumerate(inputs):  # of another seed each: equal values would hide inputs that were swapped
            record[each.name] = seeded_item(each, seed + (number << 16))
        return record
    raw = np.random.PCG64(seed).random_raw
    if len(spec.shape) == 3:
        height, width, channels = spec.shape
        levels = (raw(25 * channels) >> np.uint64(56)).astype(np.int64).reshape(5, 5, channels)
        levels = _between(_between(levels, height).transpose(1, 0, 2), width).transpose(1, 0, 2) >> 16
        contrast = int(raw() % 4) + 1
        levels = (levels * contrast + 128 * (4 - contrast)) // 4
    else:
        levels = (raw(int(np.prod(spec.shape))) >> np.uint64(56)).astype(np.int64).reshape(spec.shape)
    low, high = spec.limits
    if spec.dtype != "float32":
        return np.asarray(int(low) + (int(high) - int(low)) * levels // 255, spec.dtype)
    return np.asarray(low + (high - low) / 255 * levels, np.float32)


def _between(levels: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """Five values along the first axis interpolated linearly to `size`, times 256, in integers to avoid rounding."""
    at = np.arange(size) * 1024 // max(1, size - 1)
    low = np.minimum(at >> 8, 3)
    share = (at - (low << 8)).reshape(-1, 1, 1)
    return np.asarray(levels[low] * (256 - share) + levels[low + 1] * share)


def _samples(manifest: Path, model: Model) -> list[tuple[Path, npt.NDArray[Any], int]]:
    with parsing(manifest, "Unpack the bundle again.", failed="is damaged", error=InputError):
        samples = json.loads(open_regular(manifest).read())["samples"]
        rows = [(s["file"], np.array(s["scores"], np.float64), model.labels.index(s["label"])) for s in samples]
        if any(scores.shape != (len(model.labels),) for _, scores, _ in rows):
            raise ValueError(f"a sample does not have {len(model.labels)} scores")
        return [(manifest.parent / str(name), scores, top) for name, scores, top in rows]


def _check(name: str, test: SelfTest, scores: Any, *, columns: Any, wanted: Any, top: int, limit: float) -> Check:
    steps = np.maximum(test.step or (test.high - test.low) / 256, 2 * wanted * (1 - wanted) * test.logit_step)
    off = np.abs(scores[columns] - wanted) / steps
    worst = int(np.argmax(off))
    best = int(np.argmax(scores))
    most = float(off[worst])
    at = columns[worst]
    detail = f"label {at} scores {scores[at]:.4f}, not {wanted[worst]:.4f}" if not most <= 0.5 else ""
    agrees = best == top or bool(scores[best] - scores[top] <= 2 * limit * steps.max())
    if most <= limit and not agrees:
        detail = f"label {best} is the best, not {top}"
    return Check(name, most <= limit and agrees, most if np.isfinite(most) else None, detail)
