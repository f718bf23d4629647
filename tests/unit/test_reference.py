"""The items on which files are compared with their source model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.proof.selftest import ProofItems, ReferenceOutputs
from edgepress.runtime.contract import Contract
from edgepress.runtime.input_spec import InputSpec

IMAGES = InputSpec(shape=(2, 3, 1), dtype="uint8", color="grey")
TENSORS = InputSpec(shape=(2, 3, 1), dtype="float32")


def extreme_images(spec: InputSpec, answer: Any) -> Any:
    contract = Contract(task="softmax", labels=("a", "b"), input=spec, scheme="keras")
    source: Any = SimpleNamespace(answer=lambda items: np.stack([np.asarray(answer(float(i.mean()))) for i in items]))
    return ReferenceOutputs(source, contract, InputAdapter(spec, spec.shape), ProofItems()).extreme_images()


@pytest.mark.parametrize(
    ("answer", "pixels"),
    [
        (lambda mean: [mean, 1.0], [0, 255]),
        (lambda mean: [np.divide(0.0, mean) if mean else np.nan, 1.0], [255]),
        (lambda mean: [1.0, np.inf if mean > 254 else mean], [0]),
        (lambda mean: [np.nan, mean], []),
    ],
)
def test_black_and_white_images_that_the_source_model_answers(answer: Any, pixels: list[int]) -> None:
    images = extreme_images(IMAGES, answer)
    assert images.dtype == np.uint8
    assert images.shape == (len(pixels), 2, 3, 1)
    assert [np.unique(image).tolist() for image in images] == [[pixel] for pixel in pixels]


def test_tensors_have_no_extreme_images() -> None:
    assert len(extreme_images(TENSORS, lambda mean: [mean, 1.0])) == 0
