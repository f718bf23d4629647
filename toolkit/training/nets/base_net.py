"""The body of a classifier that others trained, of Keras or a float TFLite graph: what `train --from` begins with.

The file is opened in a child process, which makes its float graph, cuts it at the features, and tries it: what crashes
there does not crash the training, which then runs in this process.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.contract.guess import guess_contract
from edgepress.converters.contract.hints import Hints, ModelFacts
from edgepress.converters.contract.write import tflite_with_contract
from edgepress.converters.conversion.conversion import Conversion
from edgepress.converters.conversion.float_graph import get_open_model
from edgepress.converters.errors import ConversionError
from edgepress.converters.files import sha256_of
from edgepress.converters.graph.distill import Trainee, largest_batch
from edgepress.converters.graph.features import features_graph, find_features, with_classifier
from edgepress.converters.graph.program import Program, UnknownOperationError, trial_items
from edgepress.converters.process.worker import Emit
from edgepress.converters.pruning.importance import channel_moments
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_tflite.constants import with_plain_constants
from edgepress.converters.to_tflite.convert import with_scheme
from edgepress.runtime.contract import Contract
from edgepress.toolkit.data.objects import Model
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.results.run_files import model_in
from edgepress.toolkit.training.features import Body, keras_body
from edgepress.toolkit.training.label_kinds import ONE_LABEL, LabelKind
from edgepress.toolkit.training.nets.options import BaseNet
from edgepress.toolkit.training.options import TrainingOptions

BATCH = 32
"""Most items in a step of training, unless the user says otherwise."""
MEMORY = 2 << 30
"""Bytes that the activations of a step may take."""
MOST_FEATURES = 1 << 16
"""Features of an item at most, of which all training items' are held in memory."""
LEFT_OPEN = (None, False, "auto")
"""Values of options that leave a choice to edgepress."""


@dataclass(frozen=True)
class BodyJob:
    """Cut the graph of the model that is open.

    Attributes:
        adapter: The operations in front of the model.
        features: The tensor that the user names; "" to find it.
    """

    adapter: InputAdapter
    features: str


@dataclass(frozen=True)
class FoundBody:
    """What came out: the graph, the tensor, the tensor's shape, and the items that a step of training may have."""

    graph: bytes
    features: str
    shape: tuple[int, ...]
    batch: int


def find_base(
    options: TrainingOptions, arch: str, *, hints: Hints | None = None, on_note: Callable[[str], None] | None = None
) -> BaseNet | None:
    """What a training begins with; None if that is an architecture. The arguments are those of `train`.

    Raises:
        EdgepressError: Options of architectures were given as well, or the file can't be used.
    """
    base = options.base
    if base is None:
        return None
    given = {"arch": arch} | {name: getattr(options, name) for name in ("weights", "width", "depth", "continued")}
    if beside := [f"--{name}" for name, value in given.items() if value not in LEFT_OPEN]:
        named = " and ".join(beside)
        raise InputError(f"--from takes the net from a file, so {named} can't be given as well.", f"Leave out {named}.")
    known = hints or Hints()
    known = dataclasses.replace(known, trust=options.trust or known.trust)
    if isinstance(base, BaseNet):
        return base
    return open_base(base, features=options.features, hints=known, on_note=on_note)


def open_base(
    path: Model,
    *,
    features: str = "",
    hints: Hints | None = None,
    on_note: Callable[[str], None] | None = None,
) -> BaseNet:
    """Open a classifier of any format, up to its features.

    Args:
        path: A `.keras`, `.h5`, `.hdf5`, `.tflite` (float or quantized) or `.onnx` file, a SavedModel folder, or a
            run's folder.
        features: Name of the tensor of its float graph that holds the features; "" for what its last layer reads.
        hints: What you know of its input.
        on_note: Called with each guess about the model, and the tensor of the features.

    Raises:
        EdgepressError: The file can't be opened, or has no place for a new classifier; the message names candidates.
    """
    file = model_in(path)
    note = on_note or (lambda text: None)
    hints = dataclasses.replace(hints or Hints(), dequantize=True)
    with Conversion(file, hints=hints) as conversion:
        facts = conversion.facts
        adapter, notes = _preparation(file, facts, hints)
        for text in (*facts.notes, *notes):
            note(text)
        (found,) = conversion.call(make_body, BodyJob(adapter, features))
        assert isinstance(found, FoundBody)
    shape = " x ".join(map(str, found.shape[1:]))
    note(f"features: {found.features.partition(';')[0]}, {shape}; change it with --features")
    return BaseNet(
        conversion.stem, sha256_of(file), adapter.item, found.graph, found.features, found.batch, hints.words
    )


def _preparation(path: Path, facts: ModelFacts, hints: Hints) -> tuple[InputAdapter, tuple[str, ...]]:
    """What makes items of the new model those that the old one takes, and notes on what was guessed of it."""
    if facts.contract is not None and not hints.about_contract:
        return InputAdapter.of(facts.contract), ()
    try:
        guess = guess_contract(facts, dataclasses.replace(hints, task="none"))  # its own classes do not matter
    except InputError as e:
        raise InputError(f"{path}: {e.message}", e.hint) from e
    return guess.adapter, tuple(text for text in guess.notes if not text.startswith("outputs:"))


def make_body(job: BodyJob, emit: Emit) -> None:
    """Do a `BodyJob` in a child process, and report a `FoundBody`.

    Raises:
        ConversionError: The model has no float TFLite graph, or one that can't be trained, or no place for a
            classifier.
    """
    try:
        program = Program(with_plain_constants(get_open_model().tflite(job.adapter)))
        tensor = find_features(program, job.features)
        body = Program(features_graph(program, tensor))
        if (count := body.shapes[body.sink][-1]) > MOST_FEATURES:
            raise ConversionError(
                f"{tensor.partition(';')[0]} has {count} features; accepted: up to {MOST_FEATURES}.",
                "Name a tensor nearer to the output with --features.",
            )
        _try_gradients(body)
    except UnknownOperationError as e:
        raise ConversionError(
            f"The model can't be trained: {e}.", "Take another model, or train one from nothing with --arch."
        ) from e
    batch = min(BATCH, largest_batch(body, MEMORY))
    emit(FoundBody(body.with_constants({}), tensor, program.shapes[tensor], batch))


def _try_gradients(body: Program) -> None:
    """Run the graph on several items at once, with gradients of all its layers, as training does.

    Raises:
        UnknownOperationError: It can't be run so.
    """
    import tensorflow as tf

    if not body.batched:
        raise UnknownOperationError("its graph takes one item at a time")
    constants: dict[str, Any] = {step.weights: tf.Variable(step.constants[1]) for step in body.weighted()}
    items = trial_items(body.shapes[body.source], body.dtype)
    try:
        with tf.GradientTape() as tape:
            answers = tf.reduce_sum(body.run(items, constants=constants)[body.sink])
        tape.gradient(answers, [*constants.values()], unconnected_gradients="zero")
    except (tf.errors.OpError, LookupError) as e:
        raise UnknownOperationError(f"it has no gradient: {e}") from e
    if not np.isfinite(answers.numpy()):
        raise UnknownOperationError("its features are not finite")


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
