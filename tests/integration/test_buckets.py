"""Features that are put into buckets keep their values up to there, in both formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rewriting import Net

from edgepress.converters.to_tflite.float_layers import float_chain_names, reads_input
from edgepress.converters.to_tflite.graph import Graph
from edgepress.toolkit.conversion.convert import convert


def test_what_is_put_into_buckets_is_exact() -> None:
    net = Net((), 4)
    net.add("MUL", [net.now, np.array([1, 2, 3, 4], np.float32)], (1, 4))
    buckets = net.add("BUCKETIZE", [net.now], (1, 4))
    net.give_options("Bucketize", boundaries=[-1.0, 0.0, 2.0])
    net.graph.table.tensors[buckets].type = 2
    net.add("CAST", [buckets], (1, 4))
    graph = Graph(net.model())
    kinds = [graph.kind(op) for op in graph.operators if graph.name(int(op.outputs[0])) in float_chain_names(graph)]
    assert kinds == ["MUL", "BUCKETIZE"]
    assert reads_input(graph)


@pytest.mark.slow
def test_features_of_different_ranges_keep_their_buckets(tmp_path: Path) -> None:
    """From .01 to 100, some of which are bounds."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(2)
    random = np.random.default_rng(0)
    ranges = np.array([0.01, 1, 100])
    inputs = keras.Input((3,))
    parts = []
    for place, size in enumerate(ranges):
        cut = layers.Discretization(bin_boundaries=[size / 4, size / 2, size * 3 / 4], output_mode="one_hot")
        parts.append(cut(inputs[:, place : place + 1]))
    x = layers.Dense(8, activation="relu")(layers.Concatenate()(parts))
    keras.Model(inputs, layers.Dense(3)(x)).save(tmp_path / "model.keras")
    items = (random.uniform(0, 1, (2, 120, 3)) * ranges).astype(np.float32)
    items[:, :20] = ranges / 2
    labels = np.arange(120) % 3
    np.savez(tmp_path / "data.npz", x_train=items[0], x_test=items[1], y_train=labels, y_test=labels)
    variants = convert(tmp_path / "model.keras", "all", out=tmp_path / "files", data=tmp_path / "data.npz")
    for variant in variants:
        assert variant.status == "ok", variant.error
        assert variant.verification is not None
        assert variant.verification.sqnr_db is None or variant.verification.sqnr_db > 25  # None if nothing differs
