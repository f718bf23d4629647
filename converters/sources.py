"""What a model comes in: opened, described, and turned into the float files that everything else is derived from.

Three kinds of sources share one interface (`Source`): TensorFlow's (Keras files and SavedModels), a float `.tflite`,
and a float `.onnx`. What a foreign model needs in front of it - other channel order, normalization, channels first - is
put into the graph, so that the file takes raw uint8 pixels, NHWC, like every other. Opening a foreign file may crash:
this module's functions are called in a child process (`jobs`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from edgepress.converters import onnx_graph, tflite_graph
from edgepress.converters.errors import ConversionError
from edgepress.converters.foreign_contract import Guess
from edgepress.converters.foreign_metadata import Metadata, onnx_metadata, tflite_metadata
from edgepress.converters.frozen import freeze, last_operation
from edgepress.converters.keras_file import KERAS_SUFFIXES, load_keras
from edgepress.converters.saved_model import is_saved_model, load_saved_model
from edgepress.converters.to_onnx import OPSET
from edgepress.runtime.errors import ModelFileError

if TYPE_CHECKING:
    import onnx

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Options:
    """How to open a model.

    Attributes:
        custom: "module:Class" of custom Keras layers; the modules are imported.
        trust: Whether Lambda layers, which are code, may be run.
    """

    custom: tuple[str, ...] = ()
    trust: bool = False


@dataclass(frozen=True)
class Facts:
    """What can be seen of a model once it is open.

    Attributes:
        format: "keras", "savedmodel", "tflite" or "onnx".
        shape: Shape of one item as the model takes it, without the batch.
        outputs: Number of outputs.
        dtype: Type of its input.
        ends_in: Name of the last operation that computes, "" if unknown.
        metadata: What the file says of itself.
    """

    format: str
    shape: tuple[int, ...]
    outputs: int
    dtype: str
    ends_in: str
    metadata: Metadata


class Source(Protocol):
    """An open model."""

    facts: Facts

    def answer(self, items: Array) -> npt.NDArray[np.float32]:
        """The model's own answers: items as it takes them, float32, (N, *shape) -> float32, (N, outputs)."""
        ...

    def tflite(self, guess: Guess, *, softmax: bool) -> bytes:
        """A float TFLite file of batch 1 that takes the contract's items as float32."""
        ...

    def onnx(self, guess: Guess, *, softmax: bool) -> onnx.ModelProto:
        """A float ONNX model that takes the contract's items: uint8 for images, float32 for tensors."""
        ...


def open_source(path: Path, options: Options) -> Source:
    """Open a model of any kind.

    Raises:
        ModelFileError: It is missing, damaged, not a classifier, or needs an option; the message says which.
        ConversionError: It is quantized already, or has operations that boards don't have.
    """
    if is_saved_model(path):
        infer, shape, outputs, dtype = load_saved_model(path)
        return TensorFlowSource("savedmodel", infer, shape, outputs, dtype)
    if path.is_dir():
        raise ModelFileError(f"{path} is a folder without saved_model.pb.", "Name a model file or a SavedModel.")
    if not path.exists():
        raise ModelFileError(f"{path} does not exist.", "Check the path.")
    suffix = path.suffix.lower()
    if suffix in KERAS_SUFFIXES:
        model = load_keras(path, custom=options.custom, trust=options.trust)
        shape, outputs = tuple(model.input_shape[1:]), int(model.output_shape[1])
        dtype = getattr(model.inputs[0].dtype, "name", str(model.inputs[0].dtype))
        return TensorFlowSource("keras", lambda x: model(x, training=False), shape, outputs, dtype)
    if suffix == ".tflite":
        return TFLiteSource(path)
    if suffix == ".onnx":
        return OnnxSource(path)
    raise ModelFileError(
        f"{path} is of an unknown kind ({path.suffix or 'no suffix'}).",
        "Accepted: .keras, .h5, .hdf5, .tflite, .onnx and SavedModel folders.",
    )


class TensorFlowSource:
    """A function of TensorFlow: a Keras model or a SavedModel's signature."""

    def __init__(
        self, format: str, infer: Callable[[Any], Any], shape: tuple[int, ...], outputs: int, dtype: str
    ) -> None:
        import tensorflow as tf

        if any(n is None for n in shape):
            raise ModelFileError(
                f"The model's input has the shape {list(shape)}, which is not fixed.",
                "Save it with an input of fixed size.",
            )
        self._tf = tf
        self._infer: Callable[[Any], Any] = lambda x: infer(tf.cast(x, dtype))
        self._bare = freeze(self._infer, (1, *shape), "float32")
        self.facts = Facts(format, shape, outputs, dtype, last_operation(self._bare), Metadata())

    def answer(self, items: Array) -> npt.NDArray[np.float32]:
        """See `Source`."""
        return np.concatenate([np.asarray(self._bare(self._tf.constant(x[np.newaxis]))[0]) for x in items])

    def tflite(self, guess: Guess, *, softmax: bool) -> bytes:
        """See `Source`."""
        from edgepress.converters.to_tflite import float_tflite

        if guess.is_identity and not softmax:
            return float_tflite(self._bare)
        return float_tflite(freeze(self._whole(guess, softmax), (1, *guess.contract.input.shape), "float32"))

    def onnx(self, guess: Guess, *, softmax: bool) -> onnx.ModelProto:
        """See `Source`."""
        from edgepress.converters.to_onnx import float_onnx

        spec = guess.contract.input
        return float_onnx(freeze(self._whole(guess, softmax), (None, *spec.shape), spec.dtype))

    def _whole(self, guess: Guess, softmax: bool) -> Callable[[Any], Any]:
        tf = self._tf

        def infer(x: Any) -> Any:
            x = tf.cast(x, tf.float32)
            if guess.bgr:
                x = tf.gather(x, [2, 1, 0], axis=-1)
            if guess.scales:
                x = x * np.array(guess.factor, np.float32) + np.array(guess.offset, np.float32)
            if guess.channels_first:
                x = tf.transpose(x, [0, 3, 1, 2])
            if tuple(x.shape[1:]) != guess.model_shape:
                x = tf.reshape(x, [-1, *guess.model_shape])
            scores = self._infer(x)
            return tf.nn.softmax(scores) if softmax else scores

        return infer


class TFLiteSource:
    """A float `.tflite` that anyone made; every TFLite scheme can be derived from it, no ONNX one."""

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._model = whole = path.read_bytes()
        names = tflite_graph.operations(self._model)
        if foreign := [name for name in names if name.startswith(("CUSTOM", "Flex"))]:
            raise ConversionError(
                f"{path} has operations that no board's interpreter has: {', '.join(sorted(set(foreign)))} "
                f"(for {tflite_graph.output_of(self._model, foreign[0])}).",
                "Export the model with built-in operations only.",
            )
        if quantized := tflite_graph.quantized_tensors(self._model):
            raise ConversionError(
                f"{path} is quantized already ({len(quantized)} tensors, such as {quantized[0]}).",
                "Give the float model that it was made from.",
            )
        self._model = tflite_graph.float_input(self._model)
        try:
            self._interpreter = interpreter = Interpreter(model_content=self._model, num_threads=os.cpu_count())
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as e:
            raise ModelFileError(f"LiteRT can't open {path}: {str(e).strip()}", "It is damaged.") from e
        self._source, self._sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        if len(self._sink["shape"]) != 2 or self._source["shape"][0] != 1:
            raise ModelFileError(
                f"{path} is not a classifier of batch 1: input {self._source['shape'].tolist()}, output "
                f"{self._sink['shape'].tolist()}.",
                "One input (1, ...) and one output (1, classes) are needed.",
            )
        shape = tuple(int(n) for n in self._source["shape"][1:])
        dtype = np.dtype(self._source["dtype"]).name
        if dtype != "float32":
            raise ModelFileError(
                f"{path} takes {dtype} and does not cast it to float32 first.", "Export it with a float32 input."
            )
        last = tflite_graph.last_operation(self._model)
        self.facts = Facts("tflite", shape, int(self._sink["shape"][1]), dtype, last, tflite_metadata(whole))

    def answer(self, items: Array) -> npt.NDArray[np.float32]:
        """See `Source`."""
        answers = []
        for item in items:
            self._interpreter.set_tensor(self._source["index"], item[np.newaxis].astype(self._source["dtype"]))
            try:
                self._interpreter.invoke()
            except RuntimeError as e:
                raise _does_not_run(e) from e
            answer = self._interpreter.get_tensor(self._sink["index"])
            if answer.shape != (1, self.facts.outputs):  # shapes that are known only while it runs
                raise _does_not_run(f"it gave {list(answer.shape)} instead of {[1, self.facts.outputs]}")
            answers.append(answer[0])
        return np.array(answers, np.float32)

    def tflite(self, guess: Guess, *, softmax: bool) -> bytes:
        """See `Source`."""
        return tflite_graph.prepared(self._model, guess, softmax=softmax)

    def onnx(self, guess: Guess, *, softmax: bool) -> onnx.ModelProto:
        """Always an error: the way back from TFLite to ONNX loses what a converter needs."""
        raise ConversionError(
            "An ONNX file can't be made from a .tflite file.", "Give the Keras model or SavedModel it was made from."
        )


class OnnxSource:
    """A float `.onnx` that anyone made; every ONNX scheme can be derived from it, no TFLite one."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        self._model = model = onnx_graph.load(path)
        if quantized := onnx_graph.quantized_operations(model):
            raise ConversionError(
                f"{path} is quantized already (it has {', '.join(quantized)}).",
                "Give the float model that it was made from.",
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as e:  # ONNX Runtime's errors share no base class
            raise ModelFileError(
                f"ONNX Runtime can't open {path}: {str(e).strip()}",
                f"Export it with opset {OPSET} and standard operations only.",
            ) from e
        source, sink = self._session.get_inputs()[0], self._session.get_outputs()[0]
        if len(self._session.get_inputs()) != 1 or len(self._session.get_outputs()) != 1 or len(sink.shape) != 2:
            shapes = [[v.shape for v in values] for values in (self._session.get_inputs(), self._session.get_outputs())]
            raise ModelFileError(
                f"{path} is not a classifier: inputs {shapes[0]}, outputs {shapes[1]}.",
                "One input and one output of shape (batch, classes) are needed.",
            )
        if isinstance(source.shape[0], int) and source.shape[0] != 1:
            raise ModelFileError(
                f"{path} takes {source.shape[0]} items at once.", "Export it with a batch of 1 or a free one."
            )
        if not all(isinstance(n, int) for n in source.shape[1:]) or not isinstance(sink.shape[1], int):
            raise ModelFileError(
                f"{path} takes {source.shape} and gives {sink.shape}: sizes beside the batch must be fixed.",
                "Export it with an input of fixed size.",
            )
        types = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}
        if source.type not in types:
            raise ModelFileError(f"{path} takes {source.type}.", f"Accepted: {', '.join(types)}.")
        props = {p.key: p.value for p in model.metadata_props}
        self.facts = Facts(
            "onnx",
            tuple(source.shape[1:]),
            sink.shape[1],
            types[source.type],
            onnx_graph.last_operation(model),
            onnx_metadata(props),
        )

    def answer(self, items: Array) -> npt.NDArray[np.float32]:
        """See `Source`."""
        name = self._session.get_inputs()[0].name
        items = items.astype(self.facts.dtype)
        try:
            parts = [self._session.run(None, {name: x[np.newaxis]})[0] for x in items]
        except Exception as e:  # as above
            raise _does_not_run(e) from e
        return np.concatenate(parts).astype(np.float32)

    def tflite(self, guess: Guess, *, softmax: bool) -> bytes:
        """Always an error; docs/decisions.md says what was tried."""
        raise ConversionError(
            "A TFLite file can't be made from an .onnx file.", "Give the Keras model or SavedModel it was made from."
        )

    def onnx(self, guess: Guess, *, softmax: bool) -> onnx.ModelProto:
        """See `Source`."""
        return onnx_graph.prepared(self._model, guess, softmax=softmax)


def _does_not_run(why: object) -> ConversionError:
    return ConversionError(f"The model itself does not run: {str(why).strip()}.", "Check how it was exported.")


def as_the_model_takes(guess: Guess, items: Array) -> npt.NDArray[np.float32]:
    """The contract's items as the bare model takes them, computed apart from any graph: what a proof compares with."""
    x: Array = items.astype(np.float32)
    if guess.bgr:
        x = x[..., ::-1]
    if guess.scales:
        x = (x - np.array(guess.mean, np.float32)) / np.array(guess.std, np.float32)
    if guess.channels_first:
        x = x.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(x.reshape(len(x), *guess.model_shape), np.float32)
