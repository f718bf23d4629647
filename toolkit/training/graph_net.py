"""A float TFLite graph with a new classifier, which learns as a pre-trained Keras model does (`train --from`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.contract.write import tflite_with_contract
from edgepress.converters.distillation.distill import Trainee
from edgepress.converters.features.cut import with_classifier
from edgepress.converters.graph.program import Program
from edgepress.converters.pruning.importance import channel_moments
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_tflite.convert import with_scheme
from edgepress.runtime.contract import Contract
from edgepress.toolkit.training.base_net import BaseNet
from edgepress.toolkit.training.features import Body, keras_body
from edgepress.toolkit.training.label_kinds import ONE_LABEL, LabelKind

MEASURED = 64
"""Training items on which the size of outputs is measured."""
SCHEME = "tflite-float32"
"""Scheme of its file."""

FACTOR = 3.0
"""What the body's variables are multiplied by: its weights are stored as shares of the largest of their channel, and
move by so much more in them than a Keras model's weights by the same learning rate."""


class GraphNet:
    """The net.

    Args:
        base: Its body.
        items: Some items, shape (n, *item shape), which tell how large outputs are.
        classes: Number of classes.
        kind: What is learned of an item.

    Attributes:
        body: What the second step trains.
        head: Kernel (features, classes) and bias (classes,), variables of TensorFlow.
    """

    def __init__(self, base: BaseNet, items: npt.NDArray[Any], *, classes: int, kind: LabelKind = ONE_LABEL) -> None:
        import tensorflow as tf

        self._parent = base.sha256
        self._kind = kind
        program = Program(base.graph, checked=True)
        self._trainee = Trainee(program, channel_moments(program, items), factor=FACTOR)
        self._sink = program.sink
        self._dtype = tf.as_dtype(program.dtype)
        self.body = Body(self._features, self._trainee.variables)
        size = program.shapes[program.sink][-1]
        self.head = [tf.Variable(tf.zeros((size, classes))), tf.Variable(tf.zeros(classes))]
        self._scores = tf.function(self._answer, autograph=False, reduce_retracing=True)

    def _features(self, items: Any) -> Any:
        import tensorflow as tf

        return self._trainee.run(tf.cast(items, self._dtype))[self._sink]

    def _answer(self, items: Any) -> Any:
        import tensorflow as tf

        kernel, bias = self.head
        end = tf.nn.softmax if self._kind is ONE_LABEL else tf.nn.sigmoid
        return end(tf.matmul(self._features(items), kernel) + bias)

    def predict_on_batch(self, items: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Probabilities of items of shape (n, *item shape): float32, shape (n, classes)."""
        scores: npt.NDArray[np.float32] = self._scores(items).numpy()
        return scores

    def count_params(self) -> int:
        """Number of trained numbers."""
        return sum(int(np.prod(variable.shape)) for variable in (*self.body.variables, *self.head))

    def file(self, contract: Contract) -> bytes:
        """The float `.tflite` with the trained constants, the classifier, and a contract of all but its scheme."""
        kernel, bias = (variable.numpy() for variable in self.head)
        graph = with_classifier(self._trainee.model(), kernel, bias, end=self._kind.activation)
        float_file = with_scheme(graph, SCHEMES[SCHEME], None, uint8=contract.input.is_image)
        return tflite_with_contract(float_file, contract.replace(scheme=SCHEME, parent_sha256=self._parent))


def parts_of(model: Any) -> tuple[Body, list[Any]]:
    """The body of a Keras model or a `GraphNet`, and its classifier's kernel and bias."""
    return (model.body, model.head) if isinstance(model, GraphNet) else keras_body(model)
