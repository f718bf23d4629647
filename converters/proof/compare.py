"""Compare the answers of a converted file with those of its source model, and judge the difference.

Labels decide where they can: a file is refused if it is proven to lose right answers, and accepted if it is proven to
keep them (`edgepress.converters.proof.labels`). Where they can't, because items are few or have no labels, the noise of
the answers decides. The bounds are the same for all schemes, so that verdicts on the files of one model agree; what is
unusual for a scheme is a note, or, of a float file where no label shows what it costs, a refusal.

Noise is compared before softmax or sigmoid, which hide differences where they saturate, and with the spread, that is
how much the source model's answers differ between items: what is the same for all items, such as a background class
that is never chosen, proves nothing, however large it is.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from edgepress.converters.arrays import Array, Doubles, Floats
from edgepress.converters.numeric.metrics import EXACT_DB, agreement, decibels, without_mean
from edgepress.converters.proof.labels import lost_labels
from edgepress.converters.schemes import Scheme
from edgepress.runtime.contract import Task, Verification
from edgepress.runtime.decisions import decide, same_answers, sigmoid, softmax
from edgepress.runtime.input_record import inputs_of
from edgepress.runtime.input_spec import InputSpec

ITEMS = 512
"""Largest number of items that a file is verified on: enough to tell a loss of 1 % of right answers from one of 3 %."""
SEEDED_ITEMS = 64
"""The same of seeded items, which have no right answers."""
FEW = 8
"""Number of items below which validation items are too few, and training items are taken, too."""
VARIES = 0.01
"""Share of the largest answer by which answers must differ between items for a comparison to mean anything."""
MIN_PROBABILITY = 1e-30
"""Smallest probability that has a logarithm."""
MIN_ROUNDED_PROBABILITY = 1 / 256
"""The same where probabilities are stored as float16 or eight bits."""
SIGMOID_LIMIT = 1e-3
"""Sigmoids are compared from here to 1 - here: float32 rounds them near 1, ONNX Runtime approximates them near 0."""
SEEDED = "seeded"
"""Name of the items if no data were given."""
LOST = 0.0125
"""Share of right answers that a file may lose, as far as labels prove: a loss of 2 % of 512 items does not exceed it
beyond doubt, one of 3 % does."""
SEEDED_LOST = 0.3
"""The same of seeded items, which have no right answers, as a share of what a file loses that ignores the items: of
sound files, at most 0.15 are proven, of files that lose 5 points of accuracy and are not too noisy, 0.48 or more
(`benchmarks/proof/proof_table.py`)."""
MUCH = 10
"""How many times the usual error of a float file is more than another order of its sums."""
FRAGILE = 0.1
"""Share of labels that eight bits change in a fragile model; in sound ones, it is a few percent."""
UNDECIDED = 0.3
"""Largest share of these changes that costs a right answer there; in a model that knows its labels, most do."""
LEAST_DB = 7.0
"""Spread to noise that a file must reach if its labels prove nothing, whatever its scheme."""
LEAST_SQNR_DB = 8.0
"""The answers themselves to the noise, where they do not differ between items."""
BROKEN_DB = 3.0
"""Spread to noise below which a file is broken, whatever its labels: half of its answers is noise."""
END_ERROR = 0.1
"""Largest error of a final softmax or sigmoid: the int16 softmax of TFLite errs by 0.055 on 1001 labels."""

End = Literal["softmax", "sigmoid", ""]
Answers = Floats
Logits = Doubles


def compare(
    source: Answers,
    variant: Answers,
    *,
    on: str,
    end: End = "",
    before_end: Answers | None = None,
    task: Task = "none",
    ends_in: str = "",
    labels: Array | None = None,
) -> Verification:
    """Measure the difference of two answers to the same items, float32, shape (N, C).

    Args:
        source: Answers of the source model.
        variant: Answers of the file.
        on: Name of the items, for the contract.
        end: What the answers are probabilities of; "" for logits, and for other numbers.
        before_end: The file's answers before that, from which it is computed here without rounding; None if unknown.
        task: What the answers are; "none" if no label is chosen by them.
        ends_in: The source model's last operation.
        labels: The true labels of the items, as of `lost_labels`; None if they are not known.
    """
    are_logits = not end and task in ("softmax", "logits") and source.shape[1] > 1
    error = variant.astype(np.float64) - source
    if are_logits:
        error = without_mean(error)
    exact = variant if before_end is None else apply_end(before_end, end)
    least = MIN_PROBABILITY if before_end is not None or not end else MIN_ROUNDED_PROBABILITY
    true, other = (_comparable(answers, end, least) for answers in (source, exact))
    if are_logits or end == "softmax":
        true, other = without_mean(true), without_mean(other)
    saturated = end == "softmax" and _is_saturated(source, least)
    noise = other - true
    spread = true - true.mean(axis=0)
    classifies = task != "none"
    lost = lost_labels(source, variant, task, ends_in, true=labels) if classifies else None
    return Verification(
        items=len(source),
        on=on,
        agreement=_agreement(source, variant, task) if classifies else None,
        max_error=float(np.abs(error).max()),
        mean_error=float(np.abs(error).mean()),
        largest=float(np.abs(source.astype(np.float64)).max()),
        sqnr_db=None if saturated else _decibels(true, noise),
        varies=varies(source),
        saturated=saturated,
        lost=lost.share if lost else None,
        lost_low=lost.low if lost else None,
        lost_high=lost.high if lost else None,
        lost_by_chance=lost.chance if lost else None,
        spread_db=(_decibels(spread, noise) if noise.any() else EXACT_DB) if not saturated and varies(true) else None,
        relative_error=float(np.abs(noise).max() / max(1.0 if end else 0.0, np.abs(true).max()))
        if true.any()
        else None,
        end_error=None if before_end is None else float(np.abs(exact - variant).max()),
    )


def _agreement(source: Answers, variant: Answers, task: Task) -> float:
    """Share of the items for which both choose the same label, or of independent labels the same set, 0-1."""
    if task != "multilabel":
        return agreement(source, variant)
    return float(same_answers(*(decide(answers, multilabel=True)[0] for answers in (source, variant))).mean())


def _comparable(answers: Answers, end: End, least: float) -> Logits:
    """The values to compare, shape (N, C): numbers as they are, logits instead of probabilities.

    Logits of softmax are the logarithms of its outputs.
    """
    values = answers.astype(np.float64)
    if end == "softmax":
        return np.asarray(np.log(np.clip(values, least, 1.0)))
    if end == "sigmoid":
        low = max(least, SIGMOID_LIMIT)
        clipped = np.clip(values, low, 1 - low)
        return np.asarray(np.log(clipped / (1 - clipped)))
    return values


def apply_end(before_end: Answers, end: End) -> Answers:
    """Probabilities, float32, shape (N, C), of the numbers before softmax or sigmoid."""
    return softmax(before_end) if end == "softmax" else sigmoid(before_end)


def _is_saturated(probabilities: Answers, least: float) -> bool:
    """Whether most probabilities of labels that are not chosen are too small to have a logarithm."""
    others = probabilities.size - len(probabilities)
    return bool(others and np.count_nonzero(probabilities <= least) > others / 2)


def varies(answers: Array) -> bool:
    """Whether answers, shape (N, C), differ between items: if all are alike, agreement proves little."""
    return bool(np.max(np.ptp(answers, axis=0)) > VARIES * np.max(np.abs(answers)))


def _decibels(signal: Logits, noise: Logits) -> float | None:
    ratio = decibels(float((signal**2).sum()), float((noise**2).sum()))
    return None if ratio is None else round(ratio, 2)


def shortcoming(measured: Verification, scheme: Scheme) -> str:
    """Why a file is refused; empty if it is not. See `docs/convert.md` for how the bounds were chosen.

    The order of evidence is the same for every scheme: of two files of one model, a refused one is not better in all
    that was measured than an accepted one. Only where no label can show what a difference costs must a float file equal
    its source model: that is no rounding, so nothing says that it is harmless.
    """
    exact = unusual(measured, scheme) if scheme.is_float32 and not _has_labels(measured) else ""
    return _wrong_end(measured) or _loses_labels(measured) or _too_noisy(measured) or exact


def _has_labels(measured: Verification) -> bool:
    """Whether labels of real items can show what a file loses."""
    return measured.on != SEEDED and measured.lost is not None


def unusual(measured: Verification, scheme: Scheme) -> str:
    """In what an accepted file differs more from its source model than files of its scheme do; empty if in nothing.

    Of a float file, much of that is no rounding: part of the graph computes otherwise.
    """
    report = ": part of its graph computes otherwise than the source model, please report it" * scheme.is_float32
    bound = scheme.max_relative_error
    for where, error in (("", measured.max_error / (measured.largest or 1)), (_BEFORE, measured.relative_error or 0.0)):
        if bound is not None and error > bound:
            what = report if error > MUCH * bound else ""
            return f"{where}its answers differ by up to {error:.2g} of the largest, usual are {bound:g} or less{what}"
    found, usual, what = (
        (measured.sqnr_db, scheme.min_sqnr_db, "size")
        if measured.spread_db is None
        else (measured.spread_db, scheme.min_spread_db, "spread between items")
    )
    if found is None or found >= usual:
        return ""
    noise = f"the noise of its answers is {found:.1f} dB below their {what}, usual are {usual:g} dB or more"
    return f"{noise}{report}"


_BEFORE = "before softmax or sigmoid, "


def _wrong_end(measured: Verification) -> str:
    if measured.end_error is None or measured.end_error <= END_ERROR:
        return ""
    return f"its last operation is wrong by up to {measured.end_error:.2g}; allowed are {END_ERROR:g}"


def _loses_labels(measured: Verification) -> str:
    """Right answers that are lost beyond doubt."""
    if measured.lost is None or measured.lost_low is None or measured.lost_low <= allowed_loss(measured):
        return ""
    return (
        f"it loses {measured.lost:.1%} of the right answers (at least {measured.lost_low:.1%}, with 90 % confidence; "
        f"allowed are {allowed_loss(measured):.1%}), and chooses the source model's label for "
        f"{measured.agreement:.1%} of the items"
    )


def allowed_loss(measured: Verification) -> float:
    """Share of right answers that a file may lose.

    Never more than half of what is lost if the file ignores the items. On seeded items, a share of that is all that
    counts, because a sound file may differ on them.
    """
    chance = measured.lost_by_chance or 0.0
    if measured.on != SEEDED:
        return min(LOST, chance / 2)
    return SEEDED_LOST * chance


def _too_noisy(measured: Verification) -> str:
    """Noise that is too large where labels do not prove that it costs little."""
    if measured.spread_db is None:  # the answers do not vary or are saturated: all that is left is their size
        if measured.sqnr_db is not None and measured.sqnr_db < LEAST_SQNR_DB:
            noise = f"the noise of its answers is {measured.sqnr_db:.1f} dB below their size"
            return f"{noise}; it must be {LEAST_SQNR_DB:g} dB"
        if measured.sqnr_db is None and not measured.saturated and measured.max_error > measured.largest:
            return f"its answers are wrong by up to {measured.max_error:.2g}, and the largest is {measured.largest:.2g}"
        return ""
    bound = BROKEN_DB if keeps_labels(measured) else LEAST_DB
    if measured.spread_db >= bound:
        return ""
    noise = f"the noise of its answers is {measured.spread_db:.1f} dB below their spread between items"
    agreement = "" if measured.agreement is None else f" (top-1 agreement {measured.agreement:.1%})"
    return f"{noise}; it must be {bound:g} dB{agreement}"


def is_fragile(measured: Verification) -> bool:
    """Whether small differences decide the source model's answers, as far as this file shows.

    It changes many of its labels, and by the source model's own probabilities hardly any of them matters: between those
    labels, the source model itself is undecided. Where a file alone is bad, what it changes is lost.
    """
    if measured.agreement is None or measured.lost is None or not _has_labels(measured):
        return False
    changed = 1 - measured.agreement
    return changed > FRAGILE and measured.lost <= UNDECIDED * changed


def keeps_labels(measured: Verification) -> bool:
    """Whether labels prove that a file loses no more right answers than it may."""
    return _has_labels(measured) and measured.lost_high is not None and measured.lost_high <= allowed_loss(measured)


def seeded_items(spec: InputSpec, count: int = SEEDED_ITEMS, seed: int = 0, scale: float = 1.0) -> Array:
    """Items to verify on if no data were given: smooth random fields for images, normal numbers for tensors.

    Integers are uniform over their range.

    White noise would be a poor image: filters average it away, so that all items look the same to a net. A `scale`
    below 1 makes images darker and numbers smaller.
    """
    if inputs := inputs_of(spec):
        records = np.empty(count, spec.item)
        for number, each in enumerate(
            inputs
        ):  # of another seed each: equal numbers would hide inputs that were swapped
            records[each.name] = seeded_items(each, count, seed + number, scale)
        return records
    rng = np.random.default_rng(seed)
    if spec.is_integer:
        low, high = map(int, spec.limits)
        return rng.integers(low, high + 1, (count, *spec.shape)).astype(spec.dtype)
    if not spec.is_image:
        return (scale * rng.normal(size=(count, *spec.shape))).astype(np.float32)
    height, width, channels = spec.shape
    coarse = rng.uniform(0, 255, (count, 5, 5, channels))
    rows, columns = (np.linspace(0, 4, n) for n in (height, width))

    def between(values: Array, at: Array, axis: int) -> Array:
        low = np.minimum(at.astype(int), 3)
        share = (at - low).reshape([-1 if i == axis else 1 for i in range(4)])
        return np.asarray(values.take(low, axis) * (1 - share) + values.take(low + 1, axis) * share)

    smooth = between(between(coarse, rows, 1), columns, 2) + rng.normal(0, 8, (count, height, width, channels))
    return np.clip(np.rint(scale * smooth), 0, 255).astype(np.uint8)
