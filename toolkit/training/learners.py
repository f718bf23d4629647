"""What trains a net by steps: all of a Keras model from nothing, or a pre-trained body with its classifier."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgepress.toolkit.training import batches
from edgepress.toolkit.training.features import Body
from edgepress.toolkit.training.label_kinds import ANY_LABELS, ONE_LABEL, LabelKind, exact_match, smoothed_loss
from edgepress.toolkit.training.teacher import distillation_loss, label_accuracy

BODY_RATE = 0.3
"""Learning rate of a large body as a share of the classifier's."""
DECAY = 0.02
"""Weight decay of kernels (Loshchilov and Hutter 2017, arXiv:1711.05101)."""
CLIP = 5.0
"""Largest norm of all gradients together."""
WARM_UP = 0.1
"""Share of the steps in which the learning rate rises."""
MOMENTS = (0.9, 0.999)
"""Decay of the means of gradients and of their squares, as in Adam."""
TINY = 1e-7
"""What keeps Adam's quotient finite."""
Weights = npt.NDArray[np.float32] | None
"""Weight of each class, shape (classes,); None if all weigh the same."""


class Learner(Protocol):
    """Trains a net.

    Attributes:
        variables: The variables of the net that a checkpoint holds.
        optimizer: Those of the optimizer.
    """

    variables: Sequence[Any]
    optimizer: Sequence[Any]

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step, from 0, of a training of so many."""
        ...

    def step(self, batch: batches.Batch, rate: float, number: int) -> tuple[float, float]:
        """One step on a batch, whose number is the seed of dropout; returns the batch's loss and accuracy."""
        ...


class ModelLearner:
    """Trains all layers of a Keras model with Adam, and a learning rate that falls to zero along half a cosine."""

    def __init__(
        self,
        model: Any,
        *,
        learning_rate: float,
        weights: Weights,
        has_teacher: bool,
        kind: LabelKind = ONE_LABEL,
        smooths: bool = False,
    ) -> None:
        import keras

        loss = smoothed_loss if smooths and kind is ONE_LABEL else kind.loss
        right = label_accuracy if has_teacher else exact_match if kind is ANY_LABELS else None
        model.compile(
            optimizer=keras.optimizers.Adam(learning_rate),
            loss=distillation_loss if has_teacher else loss,
            metrics=[keras.metrics.MeanMetricWrapper(right, name="accuracy") if right else "accuracy"],
            jit_compile=False,  # on a CPU, compiling a small network takes longer than it saves
        )
        model.optimizer.build(model.trainable_variables)
        self._model = model
        self._learning_rate = learning_rate
        self._weights = weights
        self.variables: Sequence[Any] = (
            model.trainable_variables + model.non_trainable_variables
        )  # including the seeds of dropout
        self.optimizer: Sequence[Any] = model.optimizer.variables

    def rate(self, step: int, steps: int) -> float:
        """See `Learner`."""
        return self._learning_rate * (1 + math.cos(math.pi * step / steps)) / 2

    def step(self, batch: batches.Batch, rate: float, number: int) -> tuple[float, float]:
        """See `Learner`."""
        x, y = batch
        self._model.optimizer.learning_rate = rate
        weights = None if self._weights is None else self._weights[labels_of(y)]
        logs = self._model.train_on_batch(x, y, weights, return_dict=True)
        return logs["loss"], logs["accuracy"]


class FineTuning:
    """Trains a pre-trained body and its classifier with AdamW, the body at a lower rate: the second step of a transfer.

    Args:
        body: The net up to its features.
        head: Kernel (f, classes) and bias (classes,) of its classifier, as variables of TensorFlow.
        learning_rate: The classifier's, at its highest.
        body_rate: The body's as a share of it.
        dropout: Rate of dropout of the features, [0, 1).
        weights: Weight of each class.
        has_teacher: Whether batches have a teacher's answers.
        seed: Seed of dropout.
        kind: What is learned of an item.
    """

    def __init__(
        self,
        body: Body,
        head: Sequence[Any],
        *,
        learning_rate: float,
        dropout: float,
        weights: Weights,
        has_teacher: bool,
        seed: int,
        body_rate: float = BODY_RATE,
        kind: LabelKind = ONE_LABEL,
    ) -> None:
        import tensorflow as tf

        self._body = body
        self._head = head
        self._learning_rate = learning_rate
        self._body_rate = body_rate
        self._dropout = dropout
        self._weights = weights
        self._has_teacher = has_teacher
        self._seed = seed
        self._kind = kind
        self.variables: Sequence[Any] = [*body.variables, *head]
        self._count = tf.Variable(0, dtype=tf.int64)
        self._means = [[tf.Variable(tf.zeros(v.shape)) for v in self.variables] for _ in MOMENTS]
        self.optimizer: Sequence[Any] = [self._count, *self._means[0], *self._means[1]]
        self._run = tf.function(self._update, autograph=False, reduce_retracing=True)

    def rate(self, step: int, steps: int) -> float:
        """See `Learner`."""
        warm = max(1, round(WARM_UP * steps))
        if step < warm:
            return self._learning_rate * (step + 1) / warm
        return self._learning_rate * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2

    def step(self, batch: batches.Batch, rate: float, number: int) -> tuple[float, float]:
        """See `Learner`."""
        import tensorflow as tf

        x, y = batch
        labels = labels_of(y) if self._kind is ONE_LABEL else y
        weights = np.ones(len(labels), np.float32) if self._weights is None else self._weights[labels]
        taught = y if self._has_teacher else np.zeros((len(labels), 1), np.float32)
        numbers = (tf.constant(rate, tf.float32), tf.constant([self._seed, number], tf.int64))
        loss, accuracy = self._run(x, labels, taught.astype(np.float32), weights, *numbers)
        return float(loss), float(accuracy)

    def _update(self, x: Any, labels: Any, taught: Any, weights: Any, rate: Any, seed: Any) -> tuple[Any, Any]:
        import tensorflow as tf

        kernel, bias = self._head
        with tf.GradientTape() as tape:
            features = self._body.run(x)
            if self._dropout:
                features = tf.nn.experimental.stateless_dropout(features, self._dropout, seed)
            logits = tf.matmul(features, kernel) + bias
            if self._has_teacher:
                losses = distillation_loss(taught, tf.nn.softmax(logits))
            else:
                losses = self._kind.losses(labels, logits)
            loss = tf.reduce_mean(losses * weights)
        gradients = tape.gradient(loss, self.variables, unconnected_gradients="zero")
        gradients, _ = tf.clip_by_global_norm(gradients, CLIP)
        self._apply(gradients, rate)
        return loss, tf.reduce_mean(tf.cast(self._kind.right(labels, logits), tf.float32))

    def _apply(self, gradients: Sequence[Any], rate: Any) -> None:
        """AdamW, without decay of vectors: biases, and scale and shift of normalization."""
        import tensorflow as tf

        count = tf.cast(self._count.assign_add(1), tf.float32)
        corrections = [1 - beta**count for beta in MOMENTS]
        last = len(self._body.variables)
        for i, (variable, gradient) in enumerate(zip(self.variables, gradients, strict=True)):
            mean, square = (
                means[i].assign(beta * means[i] + (1 - beta) * value)
                for means, beta, value in zip(self._means, MOMENTS, (gradient, gradient * gradient), strict=True)
            )
            move = (mean / corrections[0]) / (tf.sqrt(square / corrections[1]) + TINY)
            if len(variable.shape) > 1:
                move += DECAY * variable
            variable.assign_sub((rate if i >= last else self._body_rate * rate) * move)


def labels_of(y: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The labels of a batch, shape (n,); behind them may be a teacher's answers."""
    return (y if y.ndim == 1 else y[:, 0]).astype(np.int64)
