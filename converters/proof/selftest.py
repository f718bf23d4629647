"""Make the self-test of a file: informative items, and the file's answers to them on this machine.

Items come from `edgepress.runtime.selftest.seeded_item`. Of 24, those are chosen on which the source model is least
certain, because a saturated answer (1, 0, 0, ...) hides errors, and whose best labels differ as much as possible.
"""

from __future__ import annotations

import base64
from importlib import metadata

import numpy as np

from edgepress.converters.arrays import Array, Floats
from edgepress.converters.schemes import Scheme
from edgepress.converters.to_onnx import interface
from edgepress.converters.to_tflite import passes
from edgepress.converters.to_tflite.flatbuffer import is_tflite
from edgepress.runtime import ENGINES, Model
from edgepress.runtime.contract import SelfTest
from edgepress.runtime.decisions import softmax
from edgepress.runtime.input_spec import InputSpec
from edgepress.runtime.selftest import seeded_item

CANDIDATES = 24
"""Items of which the self-test's are chosen."""
ITEMS = 6
"""Most items of a self-test."""
COLUMNS = 64
"""Labels up to which all scores are stored."""


def candidates(spec: InputSpec) -> Array:
    """The items to choose from, seeds 0, 1, ...: shape (24, *spec.shape)."""
    return np.stack([seeded_item(spec, seed) for seed in range(CANDIDATES)])


def chosen_seeds(scores: Floats, *, raw: bool = False) -> tuple[int, ...]:
    """Seeds of the items to keep, at most 6, fewer if an answer is not finite.

    Args:
        scores: The source model's probabilities for `candidates`, shape (24, C).
        raw: Whether they are the outputs of a model without labels; then they count as shares of their range.
    """
    if raw:
        scores = (scores - np.nanmin(scores)) / (np.nanmax(scores) - np.nanmin(scores) or 1)
    doubt = np.where(np.isfinite(scores), scores * (1 - scores), np.nan).sum(axis=1)
    best_first = [int(i) for i in np.argsort(-doubt, kind="stable") if np.isfinite(doubt[i])]
    tops: dict[int, int] = {}
    for i in best_first:
        tops.setdefault(int(scores[i].argmax()), i)
    return tuple(sorted(list(dict.fromkeys([*tops.values(), *best_first]))[:ITEMS]))


def make_selftest(model: Model, scheme: Scheme, seeds: tuple[int, ...], *, logits: bool) -> SelfTest | None:
    """The file's answers on this machine; None if there are no seeds, or the answers are not what its task says.

    Args:
        model: The file, opened.
        scheme: Its scheme.
        seeds: Seeds of the items.
        logits: Whether `model` returns logits, which the runtime will convert to probabilities.
    """
    if not seeds:
        return None
    assert model.contract is not None
    answers = model.answer(np.stack([seeded_item(model.contract.input, seed) for seed in seeds]))
    scores = answers.reshape(len(answers), -1)
    scores = softmax(scores) if logits else scores
    low = 0.0
    high = 1.0
    if model.contract.task == "none":
        low = float(np.min(scores))
        high = max(float(np.max(scores)), low + 1e-6 * max(1.0, abs(low)))
    elif not (-1e-4 < np.min(scores) <= np.max(scores) < 1 + 1e-4):  # NaN is not, either
        return None
    if not np.isfinite(high - low):
        return None
    data = model.path.read_bytes()
    contract = model.contract
    sigmoid = contract.adapter is not None and contract.adapter.sigmoid
    before = logits or contract.task == "logits" or sigmoid  # the file's answers are logits
    step, logit_step = (passes if is_tflite(data) else interface).output_scales(data)
    count = scores.shape[1]
    columns: list[int] = []
    if count > COLUMNS:
        best = np.argsort(-scores, axis=1, kind="stable")[:, :3].ravel()
        columns = sorted({*map(int, best), *range(0, count, -(-count // (COLUMNS - best.size)))})
    shares = ((scores[:, columns] if columns else scores).astype(np.float64) - low) / (high - low)
    stored = np.rint(np.clip(shares, 0, 1) * 65535).astype("<u2")
    return SelfTest(
        engine=f"{model.engine} {metadata.version(ENGINES[model.engine].package)}",
        seeds=seeds,
        columns=tuple(columns),
        scores=base64.b64encode(stored.tobytes()).decode(),
        top=tuple(int(i) for i in scores.argmax(axis=1)),
        tolerance_steps=scheme.selftest_steps,
        step=0.0 if before else step,
        logit_step=step if before else 0.0 if contract.task == "none" else logit_step,
        low=low,
        high=high,
    )
