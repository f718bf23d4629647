"""Compare the answers of a converted file with those of its source model, and judge the difference by its scheme.

Answers are compared before softmax or sigmoid, which hide differences where they saturate. What decides is how far the
noise is below the spread, that is how much the source model's answers differ between items: what is the same for all
items, such as a background class that is never chosen, proves nothing, however large it is. Noise that rounding the
weights to eight bits explains (`edgepress.converters.proof.rounding`) is not the conversion's.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgepress.converters.schemes import Scheme
from edgepress.runtime.contract import Verification
from edgepress.runtime.decisions import sigmoid, softmax
from edgepress.runtime.input_spec import InputSpec

ITEMS = 64
"""Largest number of items that a file is verified on."""
VARIES = 0.01
"""Share of the largest answer by which answers must differ between items for a comparison to mean anything."""
LEAST, LEAST_ROUNDED = 1e-30, 1 / 256
"""Smallest probability that has a logarithm; the same where probabilities are stored as float16 or eight bits."""
SIGMOID_LIMIT = 1e-3
"""Sigmoids are compared from here to 1 - here: float32 rounds them near 1, ONNX Runtime approximates them near 0."""
SEEDED = "seeded"
"""Name of the items if no data were given."""
AGREEMENT, NEAREST_AGREEMENT = 0.5, 0.92
"""Least weighted agreement on data: with the source model, and with the nearer of it and that of rounded weights."""
ALIGNED, SCALED = 0.9, 0.2
"""Correlation from which on, and difference of the slope from 1 from which on, a scale is named as the cause."""
OFFSET_ITEMS = 8
"""Number of items from which on what their errors have in common can be told."""
EXACT_DB = 200.0
"""Spread to noise if there is no noise."""
END_ERROR = 0.1
"""Largest error of a final softmax or sigmoid: the int16 softmax of TFLite errs by 0.055 on 1001 labels."""

End = Literal["softmax", "sigmoid", ""]
Answers = npt.NDArray[np.float32]
Logits = npt.NDArray[np.float64]


def compare(
    source: Answers, variant: Answers, *, on: str, end: End = "", before_end: Answers | None = None, labels: bool = True
) -> Verification:
    """Measure the difference of two answers to the same items, float32, shape (N, C).

    Args:
        source: Answers of the source model.
        variant: Answers of the file.
        on: Name of the items, for the contract.
        end: What the answers are probabilities of; "" for logits, and for other numbers.
        before_end: The file's answers before that, from which it is computed here without rounding; None if unknown.
        labels: Whether answers are scores of labels, one of which is chosen.
    """
    error = variant.astype(np.float64) - source
    exact = variant if before_end is None else finished(before_end, end)
    least = LEAST if before_end is not None or not end else LEAST_ROUNDED
    true, other = (_compared(answers, end, least) for answers in (source, exact))
    saturated = end == "softmax" and _saturated(source, least)
    noise, spread = other - true, true - true.mean(axis=0)
    moves = other - other.mean(axis=0)
    judged = not saturated and varies(true)
    weighted, deviation = weighted_agreement(true, other, end) if labels else (None, None)
    return Verification(
        items=len(source),
        on=on,
        agreement=float(np.mean(_decisions(source) == _decisions(variant))) if labels else None,
        max_error=float(np.abs(error).max()),
        mean_error=float(np.abs(error).mean()),
        largest=float(np.abs(source.astype(np.float64)).max()),
        sqnr_db=None if saturated else _decibels(true, noise),
        varies=varies(source),
        saturated=saturated,
        weighted_agreement=weighted,
        agreement_error=deviation,
        spread_db=(_decibels(spread, noise) if noise.any() else EXACT_DB) if judged else None,
        offset_db=_offset_decibels(spread, noise) if judged and len(source) >= OFFSET_ITEMS else None,
        slope=_ratio(float((spread * moves).sum()), float((spread**2).sum())) if judged else None,
        correlation=_ratio(float((spread * moves).sum()), _norm(spread) * _norm(moves)) if judged else None,
        relative_error=float(np.abs(noise).max() / max(1.0 if end else 0.0, np.abs(true).max()))
        if true.any()
        else None,
        end_error=None if before_end is None else float(np.abs(exact - variant).max()),
    )


def beside_rounded(found: Verification, rounded: Verification) -> Verification:
    """The figures of a file, with those of its comparison with the source model of rounded numbers."""
    return dataclasses.replace(
        found,
        rounded_db=rounded.spread_db,
        rounded_offset_db=rounded.offset_db,
        rounded_agreement=rounded.weighted_agreement,
    )


def _compared(answers: Answers, end: End, least: float) -> Logits:
    """What is compared, shape (N, C): numbers as they are, logits instead of probabilities.

    Logits of softmax are the logarithms of its outputs, less their mean, which softmax ignores.
    """
    values = answers.astype(np.float64)
    if end == "softmax":
        logs = np.log(np.clip(values, least, 1.0))
        return np.asarray(logs - logs.mean(axis=1, keepdims=True))
    if end == "sigmoid":
        low = max(least, SIGMOID_LIMIT)
        clipped = np.clip(values, low, 1 - low)
        return np.asarray(np.log(clipped / (1 - clipped)))
    return values


def finished(before_end: Answers, end: End) -> Answers:
    """Probabilities, float32, shape (N, C), of the numbers before softmax or sigmoid."""
    return softmax(before_end) if end == "softmax" else sigmoid(before_end)


def _saturated(probabilities: Answers, least: float) -> bool:
    """Whether most probabilities of labels that are not chosen are too small to have a logarithm."""
    others = probabilities.size - len(probabilities)
    return bool(others and np.count_nonzero(probabilities <= least) > others / 2)


def varies(answers: npt.NDArray[Any]) -> bool:
    """Whether answers, shape (N, C), differ between items: if all are alike, agreement proves little."""
    return bool(np.max(np.ptp(answers, axis=0)) > VARIES * np.max(np.abs(answers)))


def _decisions(answers: Answers) -> npt.NDArray[Any]:
    """The label chosen for each item; of a single output, whether it is above 0.5."""
    return answers.argmax(axis=1) if answers.shape[1] > 1 else answers[:, 0] > 0.5


def weighted_agreement(source: Logits, variant: Logits, end: End) -> tuple[float | None, float | None]:
    """Agreement of the labels chosen, beyond chance, each disagreement weighted by how much it matters to the source.

    Cohen's weighted kappa (Cohen 1968, doi:10.1037/h0026256). The weight is the source's own margin: by how much it
    prefers its label to the file's, or, of a sigmoid, how far it is from undecided. Chance is the same choices made for
    other items. 1 is perfect; 0 is what answers that ignore the item reach.

    Args:
        source: Logits, shape (N, C).
        variant: Those of the file.
        end: "sigmoid" if several labels, or none, can be true at once.

    Returns:
        The agreement and its standard error over items; None if chance does as well as the source itself, such as where
        all items have one label.
    """
    if end == "sigmoid" or source.shape[1] == 1:
        chosen = variant > 0
        loss = np.abs(source) * ((source > 0) != chosen)
        frequency = chosen.mean(axis=0)
        chance = np.abs(source) * np.where(source > 0, 1 - frequency, frequency)
    else:
        lost = source.max(axis=1, keepdims=True) - source
        labels = variant.argmax(axis=1)
        loss = lost[np.arange(len(lost)), labels]
        chance = lost[:, labels]
    if not (expected := float(chance.mean())):
        return None, None
    shares = loss.reshape(len(loss), -1).mean(axis=1) / expected
    return 1 - float(shares.mean()), float(shares.std() / math.sqrt(len(shares)))


def _decibels(signal: Logits, noise: Logits) -> float | None:
    powers = float((signal**2).sum()), float((noise**2).sum())
    return None if 0 in powers else round(10 * math.log10(powers[0] / powers[1]), 2)


def _offset_decibels(spread: Logits, noise: Logits) -> float:
    """The spread to what errors have in common for all items, beyond twice what independent noise leaves in a mean."""
    count = len(noise)
    offset = float((noise.mean(axis=0) ** 2).sum() - 2 * noise.var(axis=0).sum() / max(1, count - 1))
    signal = float((spread**2).sum()) / count
    return round(10 * math.log10(signal / offset), 2) if offset > 0 else EXACT_DB


def _norm(values: Logits) -> float:
    return float(np.sqrt((values**2).sum()))


def _ratio(a: float, b: float) -> float | None:
    return a / b if b else None


def shortcoming(found: Verification, scheme: Scheme, *, trained: bool = False) -> str:
    """Why a file is below its scheme's bounds; empty if it is not. See `docs/convert.md` for how they were chosen.

    Args:
        found: The figures.
        scheme: The file's scheme.
        trained: Whether the source model was trained to be quantized (`edgepress tune`): its float answers are then
            shifted, because those of the rounded graph were the aim.
    """
    return (
        _too_far(found, scheme)
        or _too_noisy(found, scheme)
        or ("" if trained else _shifted(found, scheme))
        or _disagrees(found)
        or _wrong_end(found, scheme)
    )


def _too_far(found: Verification, scheme: Scheme) -> str:
    bound = scheme.max_relative_error
    for where, error in (("", found.max_error / (found.largest or 1)), (_BEFORE, found.relative_error or 0.0)):
        if bound is not None and error > bound:
            return f"{where}its answers are wrong by up to {error:.2g} of the largest; {scheme.name} allows {bound:g}"
    return ""


_BEFORE = "before softmax or sigmoid, "


def _too_noisy(found: Verification, scheme: Scheme) -> str:
    """Noise that is too large beside both the source model and the source model with rounded weights."""
    ratios = [ratio for ratio in (found.spread_db, found.rounded_db) if ratio is not None]
    if not ratios:  # exact, or the answers do not vary: all that is left is their size
        if found.sqnr_db is not None and found.sqnr_db < scheme.min_sqnr_db:
            noise = f"the noise of its answers is {found.sqnr_db:.1f} dB below their size"
            return f"{noise}; {scheme.name} must reach {scheme.min_sqnr_db:g} dB"
        return ""
    if max(ratios) >= scheme.min_spread_db:
        return ""
    beside = " (rounding to eight bits does not explain it)" if found.rounded_db is not None else ""
    cause = ""
    if (found.correlation or 0) > ALIGNED and abs((found.slope or 1) - 1) > SCALED:
        cause = f", and they are {found.slope:.2f} times as large: a scale or the range of the input is wrong"
    noise = f"the noise of its answers is {max(ratios):.1f} dB below their spread between items{beside}{cause}"
    agreement = "" if found.agreement is None else f" (top-1 agreement {found.agreement:.1%})"
    return f"{noise}; {scheme.name} must reach {scheme.min_spread_db:g} dB{agreement}"


def _shifted(found: Verification, scheme: Scheme) -> str:
    """Rounding errs in all directions; a lost bias or a wrong zero point shifts the answers to all items alike."""
    offsets = [offset for offset in (found.offset_db, found.rounded_offset_db) if offset is not None]
    if not offsets or max(offsets) >= scheme.min_offset_db:
        return ""
    shift = f"its answers to all items are shifted by the same, {max(offsets):.1f} dB below their spread between items"
    return f"{shift}, as by a lost bias or a wrong zero point; at least {scheme.min_offset_db:g} dB are needed"


def _disagrees(found: Verification) -> str:
    """Labels that are wrong beyond what chance, at one standard error, allows.

    Seeded items have no true label, and a sound file may differ on them; but where probabilities are saturated, labels
    are all that can be compared.
    """
    if found.weighted_agreement is None or (found.on == SEEDED and not found.saturated):
        return ""
    allowed = found.agreement_error or 0.0
    nearest = max(found.weighted_agreement, found.rounded_agreement or 0.0)
    bounds = [
        (nearest, NEAREST_AGREEMENT, "rounding does not explain that"),
        (found.weighted_agreement, AGREEMENT, "eight bits are too few for this model"),
    ]
    if found.on == SEEDED:
        bounds = [(nearest, AGREEMENT, "its probabilities are 0 or 1, so nothing else can be compared")]
    for agreement, least, why in bounds:
        if agreement + allowed < least:
            share = f"it chooses the source model's label for {found.agreement:.1%} of the items"
            return f"{share}, {agreement:.2f} when weighted by certainty; at least {least:g} is needed: {why}"
    return ""


def _wrong_end(found: Verification, scheme: Scheme) -> str:
    if found.end_error is None or found.end_error <= END_ERROR:
        return ""
    return f"its last operation is wrong by up to {found.end_error:.2g}; {scheme.name} allows {END_ERROR:g}"


def seeded_items(spec: InputSpec, count: int = ITEMS, seed: int = 0, scale: float = 1.0) -> npt.NDArray[Any]:
    """Items to verify on if no data were given: smooth random fields for images, normal numbers for tensors.

    Integers are uniform over their range.

    White noise would be a poor image: filters average it away, so that all items look the same to a net. A `scale`
    below 1 makes images darker and numbers smaller.
    """
    rng = np.random.default_rng(seed)
    if spec.is_integer:
        low, high = map(int, spec.limits)
        return rng.integers(low, high + 1, (count, *spec.shape)).astype(spec.dtype)
    if not spec.is_image:
        return (scale * rng.normal(size=(count, *spec.shape))).astype(np.float32)
    height, width, channels = spec.shape
    coarse = rng.uniform(0, 255, (count, 5, 5, channels))
    rows, columns = (np.linspace(0, 4, n) for n in (height, width))

    def between(values: npt.NDArray[Any], at: npt.NDArray[Any], axis: int) -> npt.NDArray[Any]:
        low = np.minimum(at.astype(int), 3)
        share = (at - low).reshape([-1 if i == axis else 1 for i in range(4)])
        return np.asarray(values.take(low, axis) * (1 - share) + values.take(low + 1, axis) * share)

    smooth = between(between(coarse, rows, 1), columns, 2) + rng.normal(0, 8, (count, height, width, channels))
    return np.clip(np.rint(scale * smooth), 0, 255).astype(np.uint8)
