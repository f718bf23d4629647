"""What a file's answers are compared with: the source model's for verification, and the file's own as its self-test.

Items come from `edgepress.runtime.selftest.seeded_item`. Of 24, those are chosen on which the source model is least
certain, because a saturated answer (1, 0, 0, ...) hides errors, and whose best labels differ as much as possible.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata

import numpy as np

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.arrays import Array, Floats
from edgepress.converters.contract.outputs import refuse_other_outputs
from edgepress.converters.errors import ConversionError
from edgepress.converters.proof.compare import SEEDED, seeded_items, varies
from edgepress.converters.schemes import Scheme
from edgepress.converters.sources.base import SourceModel
from edgepress.converters.to_onnx import interface
from edgepress.converters.to_tflite import passes
from edgepress.converters.to_tflite.flatbuffer import is_tflite
from edgepress.converters.to_tflite.interface import with_pixels
from edgepress.runtime import ENGINES, Model
from edgepress.runtime.contract import Contract, SelfTest
from edgepress.runtime.decisions import softmax, two_columns
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


IMAGE_SCALES = (1.0, 1 / 8, 1 / 64)
"""Scales of seeded images, in the order in which they are tried."""
TENSOR_SCALES = (1.0, 8.0, 64.0, 1 / 8, 1 / 64)
"""The same of seeded tensors."""
SAMPLE = 6
"""Number of items on which a scale is tried."""


@dataclass(frozen=True)
class ProofItems:
    """Items to verify files on.

    Attributes:
        items: Items (n, *item shape); None means seeded ones.
        labels: Their true labels, as of `labels.lost_labels`; None if they are not known.
        name: Their name, for the contract.
        verify: Whether a file below its scheme's bound fails.
    """

    items: Array | None = None
    labels: Array | None = None
    name: str = SEEDED
    verify: bool = True


class ReferenceOutputs:
    """The source model's answers, as the files should give them."""

    def __init__(self, source: SourceModel, contract: Contract, adapter: InputAdapter, options: ProofItems) -> None:
        self.source = source
        self.adapter = adapter
        self.input = contract.input
        self.task = contract.task
        self._options = options
        self._answered: Floats | None = None

    @property
    def takes_scaling(self) -> bool:
        """Whether options can say how its items, images, are scaled."""
        pixels = with_pixels(self.input)
        return bool(pixels) and self.source.facts.takes_scaling

    def proof(self, count: int) -> tuple[Array, Floats]:
        """The first items to verify on, and the answers to them, of which only those still missing are computed."""
        items = self._items[:count]
        known = self._answered
        missing = items if known is None else items[len(known) :]
        if known is None or len(missing):
            fresh = self._expected_answers(missing)
            known = fresh if known is None else np.concatenate([known, fresh])
            self._answered = known
        return items, known[: len(items)]

    @cached_property
    def _items(self) -> Array:
        """All items to verify on.

        Seeded items on which the model saturates, such as pixels of 255 if it takes 0-1, would hide errors, so the
        first scale at which its answers vary is used.
        """
        if self._options.items is not None:
            return self._options.items
        scales = IMAGE_SCALES if self.input.is_image else (1.0,) if self.input.is_integer else TENSOR_SCALES
        few = ((scale, seeded_items(self.input, SAMPLE, scale=scale)) for scale in scales)
        scale = next((scale for scale, sample in few if varies(self._expected_answers(sample))), scales[0])
        return seeded_items(self.input, scale=scale)

    def _expected_answers(self, items: Array) -> Floats:
        """The answers that a file should give, with the adapter computed in NumPy."""
        scores = self._source_outputs(items)
        if not np.isfinite(scores).all():
            raise ConversionError(
                f"The source model returns NaN or infinity on the items used for verification ({self._options.name}).",
                f"{'Check --input-range, --mean and --std, or give' if self.takes_scaling else 'Give'} data like its "
                "training data with --data.",
            )
        if self._options.verify:
            ends_in = self.source.facts.ends_in
            images = self.takes_scaling
            softmax = self.adapter.end is not None
            refuse_other_outputs(scores, self.task, softmax=softmax, images=images, ends_in=ends_in)
        return self.adapter.finish(scores)

    def seeds(self) -> tuple[int, ...]:
        """Seeds of the self-test's items."""
        scores = self._source_outputs(candidates(self.input))
        if self.task == "none":
            return chosen_seeds(scores, raw=True)
        return chosen_seeds(softmax(scores) if self.task == "logits" else self.adapter.finish(scores))

    def _source_outputs(self, items: Array) -> Floats:
        return self.source.answer(self.adapter.apply(items))

    def extreme_images(self) -> Array:
        """A black and a white image, as dark rooms and bright skies give them, if the answers to them are finite.

        Returns:
            uint8, shape (n, *item shape), n being 0 to 2; 0 if items are not images, or have other parts.
        """
        if not self.input.is_image:
            return np.zeros(0, self.input.item)
        images = np.stack([np.full(self.input.shape, pixel, np.uint8) for pixel in (0, 255)])
        outputs = self._source_outputs(images).reshape(len(images), -1)
        return images[np.isfinite(outputs).all(axis=1)]

    def as_answered(self, reference: Floats) -> Floats:
        """A single sigmoid as two columns like the runtime's, the negative label first."""
        return two_columns(reference) if self.task == "sigmoid" else reference
