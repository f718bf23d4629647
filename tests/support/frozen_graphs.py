"""Graphs of TensorFlow functions, before and after parts of them are replaced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgepress.converters.freezing.fixes import fix


def definition_of(function: Callable[[Any], Any], shape: tuple[int | None, ...]) -> tuple[Any, str]:
    """A function of one tensor as a `GraphDef` without variables, and the name of its output."""
    import tensorflow as tf

    traced = tf.function(lambda x: tf.identity(function(x), "end")).get_concrete_function(
        tf.TensorSpec(shape, tf.float32, name="x")
    )
    return traced.graph.as_graph_def(), traced.outputs[0].name


def answer(definition: Any, end: str, x: Any) -> Any:
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(definition, name="")
    with tf.compat.v1.Session(graph=graph) as session:
        return session.run(end, {"x:0": x})


def kinds(definition: Any) -> list[str]:
    return [node.op for node in definition.node]


def check(function: Callable[[Any], Any], shape: tuple[int | None, ...], *, changes: bool) -> Any:
    """Fix a function's graph; its answers stay, and so do its bytes if nothing was to be changed."""
    definition, end = definition_of(function, shape)
    before = type(definition)()
    before.CopyFrom(definition)
    fix(definition)
    if not changes:
        assert definition == before
        return definition
    assert definition != before
    x = np.random.default_rng(0).normal(size=[2 if size is None else size for size in shape]).astype(np.float32)
    np.testing.assert_allclose(answer(definition, end, x), answer(before, end, x), rtol=1e-5, atol=1e-5)
    return definition


def weights(*shape: int) -> Any:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)
