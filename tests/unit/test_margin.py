"""Samples of bundles: the board reads of their images what was prepared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgepress.runtime.contract import Contract, InputSpec
from edgepress.runtime.image import load_image
from edgepress.runtime.model import Model
from edgepress.runtime.sessions import Session
from edgepress.toolkit.shipping.bundles import samples
from edgepress.toolkit.shipping.bundles.samples import SampleJob, write_samples

RANDOM = np.random.default_rng(0)


class Mean(Session):
    """A session that answers the mean color of an image."""

    dtype, scale, batch = np.dtype(np.uint8), (1.0, 0), None

    def __init__(self, contract: Contract) -> None:
        self.contract, self.shape, self.classes, self.output_shape = contract, contract.input.shape, 3, (3,)

    def run(self, batch: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        return batch.mean(axis=(1, 2), dtype=np.float32) / 255


@pytest.mark.parametrize(
    ("height", "width", "resize", "exact"),
    [
        (28, 28, "crop:0.875", True),  # of 32 x 32
        (28, 14, "crop:0.875", True),
        (10, 10, "crop:0.5", True),
        (27, 30, "crop:0.875", False),  # of 30.9 x 34.3
        (9, 9, "crop:0.3", False),  # of 30 x 30, which has no whole margin on both sides
        (12, 16, "crop", True),
        (12, 16, "stretch", True),
        (12, 16, "pad", True),
    ],
)
def test_samples_are_read_as_they_were_prepared(
    height: int, width: int, resize: str, exact: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = InputSpec.image(height, width, "rgb", resize)
    contract = Contract(task="softmax", labels=tuple("rgb"), input=spec, scheme="x")
    monkeypatch.setattr(samples, "load", lambda *_: Model(Path("x.tflite"), "mean", 1, Mean(contract)))
    coarse = RANDOM.integers(0, 256, (5, 5, 3), np.uint8)
    item = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    classes = tuple((np.array(y), item[np.newaxis]) for y in range(2))
    write_samples(SampleJob(Path("x.tflite"), None, tmp_path, classes), lambda engine: None)
    whole, enlarged = (load_image(tmp_path / "samples" / f"{n}.png", spec).astype(int) for n in range(2))
    if exact:
        np.testing.assert_array_equal(whole, item)
    assert np.abs(whole - item).mean() < 6
    assert np.abs(enlarged - item).mean() < 10
