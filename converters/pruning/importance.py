"""How much the answers need each unit, by three measures.

* `l1`: the size of the weights that make its channels, relative to the mean of their layer (Li et al. 2017,
  arXiv:1608.08710).
* `variance`: how much its channels vary, relative to the mean of their tensor, where layers read them: what does not
  vary can go into biases.
* `taylor`: the squared change of the loss by a first-order expansion in a factor of the channel's difference from its
  mean (Molchanov et al. 2019, arXiv:1906.10771, who take the channel itself; here its mean stays in the biases). It is
  summed over the places of an item before squaring, and squared before the mean over items.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args

import numpy as np

from edgepress.converters.arrays import Array, Doubles
from edgepress.converters.graph.distill import Kind, logits_of
from edgepress.converters.graph.program import Program
from edgepress.converters.graph.step import Step
from edgepress.converters.pruning.units import Units, by_channel
from edgepress.converters.ptq.channel_links import output_channels

Moments = Mapping[str, tuple[Doubles, Doubles]]
"""Means and variances by tensor, each of shape (channels,)."""
Importance = Doubles
Measure = Literal["l1", "taylor", "variance"]
MEASURES: tuple[Measure, ...] = get_args(Measure)


def channel_moments(program: Program, items: Array) -> Moments:
    """Measure the channels, that is each index of the last axis, of every float tensor.

    Args:
        program: The float program.
        items: Items (n, *item shape).
    """
    sums: dict[str, Array] = {}
    for batch in program.batches(items):
        for name, value in program.run(batch).items():
            array = np.asarray(value)
            if array.dtype == np.float32:
                rows = array.reshape(-1, (program.shapes[name] or (1,))[-1])
                squares = np.einsum("ij,ij->j", rows, rows, dtype=np.float64)
                total = [rows.sum(0, dtype=np.float64), squares, np.full(rows.shape[1], float(len(rows)))]
                sums[name] = sums.get(name, 0.0) + np.stack(total)
    return {name: (x / n, np.maximum(xx / n - (x / n) ** 2, 0)) for name, (x, xx, n) in sums.items()}


def importance_of(
    measure: Measure, units: Units, moments: Moments, *, items: Array, kind: Kind = "softmax", seed: int = 0
) -> Importance:
    """The importance of each unit, shape (count,), by one measure.

    Args:
        measure: Which one.
        units: The units of a program.
        moments: Its `channel_moments`.
        items: Items (n, *item shape), which "taylor" needs.
        kind: What the answers are.
        seed: Decides the directions in which "taylor" looks.
    """
    match measure:
        case "l1":
            return _l1(units)
        case "variance":
            return _variance(units, moments)
        case "taylor":
            return _taylor(units, moments, items, kind=kind, seed=seed)


def _l1(units: Units) -> Importance:
    importance = np.zeros(units.count)
    for step in units.program.weighted():
        weights = np.abs(step.constants[1])
        axes = tuple(i for i, size in enumerate(output_channels(step).shape) if size == 1)
        sizes = weights.mean(axis=axes)
        np.add.at(importance, units.of[step.output], sizes / max(float(sizes.mean()), 1e-12))
    return importance


def _variance(units: Units, moments: Moments) -> Importance:
    importance = np.zeros(units.count)
    for step in readers(units.program):
        variances = moments[step.inputs[0]][1]
        np.add.at(importance, units.of[step.inputs[0]], variances / max(float(variances.mean()), 1e-12))
    return importance


def _taylor(units: Units, moments: Moments, items: Array, *, kind: Kind, seed: int) -> Importance:
    import tensorflow as tf

    program = units.program
    random = np.random.default_rng(seed)
    importance = np.zeros(units.count)
    reading = {id(step) for step in readers(program)}
    means = {step.inputs[0]: moments[step.inputs[0]][0].astype(np.float32) for step in readers(program)}

    def gradients(batch: Any, direction: Any) -> Any:
        gates = tf.ones([tf.shape(batch)[0], units.count])

        def before(step: Step, place: int, value: Any) -> Any:
            name = step.inputs[0]
            if place or id(step) not in reading or not units.of[name].any():
                return value
            factors = tf.gather(gates, units.of[name], axis=1)
            rows = tf.shape(value)[0] // tf.shape(factors)[0]
            shape = [tf.shape(value)[0], *[1] * (len(value.shape) - 2), value.shape[-1]]
            return means[name] + tf.reshape(tf.repeat(factors, rows, 0), shape) * (value - means[name])

        with tf.GradientTape() as tape:
            tape.watch(gates)
            answers = logits_of(program, program.run(batch, before=before))
            loss = tf.reduce_sum(_loss(answers, direction, kind))
        return tape.gradient(loss, gates, unconnected_gradients="zero")

    compiled = tf.function(gradients, reduce_retracing=True, autograph=False)
    for batch in program.batches(items):
        outputs = int(np.prod(program.shapes[program.sink]))
        direction = random.choice([-1.0, 1.0], (len(batch), outputs)).astype(np.float32)
        importance += (np.asarray(compiled(tf.constant(batch), direction), np.float64) ** 2).sum(axis=0)
    return importance / max(len(items), 1)


def _loss(answers: Any, direction: Any, kind: Kind) -> Any:
    """A random combination of the answers, whose squared derivatives have the expectation of all answers' sum.

    The derivative of a loss near its minimum would be about 0. What softmax ignores, a sum on all answers, is left out.
    """
    import tensorflow as tf

    if kind == "softmax" and answers.shape[-1] > 1:
        answers = answers - tf.reduce_mean(answers, axis=1, keepdims=True)
    return answers * direction


def readers(program: Program) -> Iterator[Step]:
    """The layers that can take a constant into their biases: all but those that compute channels one by one."""
    return (step for step in program.weighted() if not by_channel(step) and step.inputs[0] not in program.constants)
