"""Recurrent layers that are unrolled for TFLite answer as their loops do, whatever steps are masked."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from edgepress.converters.sources.tensorflow import unroll_loops

STEPS = 3


@pytest.mark.parametrize(
    ("library", "states", "backwards"),
    [
        ("keras", False, True),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in (("keras", True, True), ("keras", False, False))),
        *(pytest.param("tf_keras", *case, marks=pytest.mark.slow) for case in ((True, True), (False, True))),
    ],
)
def test_masked_steps_are_the_same_unrolled(library: str, states: bool, backwards: bool) -> None:
    """Keras 3 itself makes 0 of the wrong steps of a layer that runs backwards, as one of Bidirectional does."""
    keras = importlib.import_module(library)
    layers = keras.layers
    source = keras.Input((STEPS, 3))
    options = {"go_backwards": backwards, "return_sequences": True, "return_state": states}
    layer = layers.GRU(2, zero_output_for_mask=True, **options)
    made = layer(layers.Masking()(source))
    if states:
        made = layers.Concatenate()([layers.Reshape((2 * STEPS,))(made[0]), made[1]])
    model = keras.Model(source, made)
    items = np.random.default_rng(0).normal(size=(STEPS, STEPS, 3)).astype(np.float32)
    for number, item in enumerate(items):
        item[number + 1 :] = 0  # which Masking masks
    unrolled = unroll_loops(model, model)
    assert unrolled is not None
    np.testing.assert_allclose(np.asarray(unrolled(items)), np.asarray(model(items)), atol=1e-6)
    assert layer.zero_output_for_mask
    assert "call" not in vars(layer)
