"""The self-test: the same items everywhere, right answers pass, wrong ones fail and say what differs."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress.converters.proof.selftest import chosen_seeds
from edgepress.converters.schemes import SCHEMES
from edgepress.runtime import InputSpec
from edgepress.runtime.contract import Contract
from edgepress.runtime.selftest import seeded_item


def test_seeded_items_never_change() -> None:
    """What is in files that were made must be made again by every later version."""
    specs = {
        "grey": InputSpec.image(28, 28, "grey"),
        "rgb": InputSpec.image(1, 97, "rgb"),
        "tensor": InputSpec(shape=(49, 10, 1), dtype="float32"),
        "flat": InputSpec(shape=(13,), dtype="float32", value_range=(-2.0, 3.0)),
    }
    found = {k: hashlib.sha256(seeded_item(spec, 5).tobytes()).hexdigest()[:16] for k, spec in specs.items()}
    assert found == GOLDEN
    for spec in specs.values():
        item = seeded_item(spec, 7)
        assert (item.shape, item.dtype) == (spec.shape, np.dtype(spec.dtype))
    low, high = (seeded_item(specs["flat"], seed).astype(float) for seed in (1, 2))
    assert -2 <= min(low.min(), high.min()) <= max(low.max(), high.max()) <= 3


GOLDEN = {
    "grey": "50dfacab2e213a7b",
    "rgb": "f588a9f019c564ba",
    "tensor": "b4c774e5ce80cf15",
    "flat": "5796e45c32214c3c",
}


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from([1, 3]), st.integers(0, 1 << 32))
def test_seeded_images_are_smooth(height: int, width: int, channels: int, seed: int) -> None:
    item = seeded_item(InputSpec(shape=(height, width, channels)), seed).astype(int)
    for axis, size in ((0, height), (1, width)):
        if size > 8:
            assert np.abs(np.diff(item, axis=axis)).max() <= 255 * 4 / (size - 1) + 2


def test_seeds_are_chosen_for_doubt_and_for_different_labels() -> None:
    scores = np.zeros((24, 3), np.float32)
    scores[:, 0] = 1
    scores[5], scores[9], scores[11] = (0.4, 0.3, 0.3), (0, 1, 0), (0.5, 0.25, 0.25)
    chosen = chosen_seeds(scores)
    assert len(chosen) == 6
    assert {5, 9, 11} <= set(chosen)
    scores[5] = np.nan
    assert 5 not in chosen_seeds(scores)
    assert chosen_seeds(np.full((24, 3), np.nan, np.float32)) == ()


def test_many_labels_store_some_scores(tmp_path: Path) -> None:
    from edgepress.converters.proof.selftest import make_selftest

    class Wide:
        path = tmp_path / "m.tflite"
        engine = "litert"
        contract = Contract(task="softmax", labels=("a",), input=InputSpec.image(8, 8, "grey"), scheme="tflite-int8")

        def answer(self, item: Any) -> Any:
            powers = np.exp(np.random.default_rng(int(item.sum())).normal(0, 2, (1, 1000)))
            return (powers / powers.sum()).astype(np.float32)

    (tmp_path / "m.tflite").write_bytes(_float_model())
    test = make_selftest(Wide(), SCHEMES["tflite-int8"], (1, 2, 3, 4, 5, 6), logits=False)  # type: ignore[arg-type]
    assert test is not None
    assert len(test.columns) <= 64
    assert set(test.top) <= set(test.columns)
    assert len(json.dumps(dataclasses.asdict(test))) < 3000


def _float_model() -> bytes:
    import zlib

    from edgepress.runtime import board

    return zlib.decompress(base64.b85decode(board._TRIAL["tflite"]))
