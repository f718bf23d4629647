"""Look-ups and counts of whole numbers in frozen graphs become what both formats have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.converters.freezing.forms import LARGEST_SPAN
from edgepress.converters.freezing.frozen import freeze, trace
from edgepress.toolkit.conversion.convert import convert

NUMBERS = np.array([[-(2**31), -4, -3, 0, 1, 7, 8, 2**31 - 1]], np.int32)


def check(function: Any, x: Any, *, stay: str = "") -> None:
    """The frozen graph of a function of whole numbers answers as it does, without its look-ups and counts."""
    import tensorflow as tf

    frozen = freeze(trace(function, (None, *x.shape[1:]), "int32"))
    kinds = {node.op for node in frozen.definition.node} & {"LookupTableFindV2", "DenseBincount"}
    assert kinds == ({stay} if stay else set())
    if stay:
        return
    expected = function(tf.constant(x)).numpy()
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(frozen.definition, name="")
    with tf.compat.v1.Session(graph=graph) as session:
        np.testing.assert_array_equal(session.run(frozen.sink, {next(iter(frozen.sources)): x}), expected)


@pytest.mark.parametrize("keys", [[1, 7, -3], [5], [0, LARGEST_SPAN]])
def test_a_table_of_numbers_becomes_a_list(keys: Any) -> None:
    import tensorflow as tf

    values = tf.constant([2**33 + each for each in range(len(keys))], "int64")
    pairs = tf.lookup.KeyValueTensorInitializer(tf.constant(keys, "int64"), values)
    table = tf.lookup.StaticHashTable(pairs, -1)
    check(lambda x: table.lookup(tf.cast(x, "int64")), NUMBERS)


@pytest.mark.parametrize(
    "pairs",
    [([0, LARGEST_SPAN + 1], [1, 2]), ([1, 2], ["one", "two"]), ([2**63 - 1, 2**63 - 2], [1, 2]), ([-(2**63)], [1])],
)
def test_other_tables_stay(pairs: Any) -> None:
    import tensorflow as tf

    texts = isinstance(pairs[1][0], str)
    entries = tf.lookup.KeyValueTensorInitializer(tf.constant(pairs[0], "int64"), tf.constant(pairs[1]))
    table = tf.lookup.StaticHashTable(entries, "" if texts else 0)

    def find(x: Any) -> Any:
        found = table.lookup(tf.cast(x, "int64"))
        return tf.strings.length(found) if texts else found

    check(find, NUMBERS, stay="LookupTableFindV2")


def test_tables_of_rows_stay() -> None:
    import tensorflow as tf

    table = tf.lookup.experimental.MutableHashTable("int64", "int64", [-1, -2])
    table.insert(tf.constant([1, 7], "int64"), tf.constant([[3, 4], [5, 6]], "int64"))
    check(lambda x: table.lookup(tf.cast(x, "int64")), NUMBERS, stay="LookupTableFindV2")


@pytest.mark.parametrize("options", [{}, {"binary_output": True}])
def test_counts_become_one_hot_rows(options: Any) -> None:
    import tensorflow as tf

    def count(x: Any) -> Any:
        return tf.math.bincount(x, minlength=9, maxlength=8, axis=-1, dtype="float32", **options)

    check(count, np.array([[0, 7, 7, 3], [8, 9, 1, 1]], np.int32))


@pytest.mark.parametrize("options", [{"minlength": 3, "maxlength": 8}, {"weights": [[1.0, 2.0, 3.0]], "maxlength": 8}])
def test_other_counts_stay(options: Any) -> None:
    """Of a length that depends on the numbers, and sums of weights."""
    import tensorflow as tf

    check(
        lambda x: tf.math.bincount(x, axis=-1, dtype="float32", **options), np.array([[0, 7, 1]]), stay="DenseBincount"
    )


@pytest.mark.slow
@pytest.mark.parametrize("exported", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"num_oov_indices": 1},
        {"num_oov_indices": 3, "mask_token": 0},
        {"output_mode": "multi_hot"},
        {"output_mode": "count"},
    ],
)
def test_integer_lookups_of_keras_become_files(options: Any, exported: bool, tmp_path: Path) -> None:
    import keras
    from keras import layers

    rng = np.random.default_rng(0)
    source = keras.Input((6,), dtype="int32")
    found = layers.IntegerLookup(vocabulary=[30, 10, 20, 40, 25], **options)(source)
    if "output_mode" not in options:
        found = layers.Flatten()(layers.Embedding(9, 8)(found))
    path = tmp_path / ("saved" if exported else "model.keras")
    model = keras.Model(source, layers.Dense(3, activation="softmax")(found))
    model.export(str(path), verbose=False) if exported else model.save(path)
    data = tmp_path / "data.npz"
    np.savez(data, x=rng.integers(0, 50, (100, 6)).astype(np.int32))
    found_files = convert(path, "tflite-float32,onnx-float32", data=str(data), out=tmp_path)
    assert [file.error for file in found_files] == ["", ""]
