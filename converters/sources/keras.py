"""Open Keras files safely: code in them is run only with `trust`, and every refusal gives a reason.

`.keras` and `.h5`/`.hdf5` of Keras 3 and, by `keras_2`, of Keras 2. Types of mixed precision are replaced by float32 in
a copy (`saved_keras`).
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress.converters.adapter import chosen_output
from edgepress.converters.contract.kinds import other_ends
from edgepress.converters.sources import keras_2
from edgepress.converters.sources.keras_2 import objects_of
from edgepress.converters.sources.saved_keras import Saved, read_saved, refuse_unsafe, repair_file
from edgepress.runtime.errors import EdgepressError, InputError, MissingExtraError, ModelFileError, first_line, parsing
from edgepress.runtime.filetypes import format_of

if TYPE_CHECKING:
    import keras


def load_keras(path: str | Path, *, custom: Sequence[str] = (), trust: bool = False, output: str = "") -> keras.Model:
    """Load a model for inference, without its optimizer, as a function of its inputs to one tensor.

    Args:
        path: A `.keras`, `.h5` or `.hdf5` file.
        custom: "module:Class" of custom layers; the modules are imported.
        trust: Whether Lambda layers, which are code in the file, may be run.
        output: Name of the output to keep of several.

    Raises:
        ModelFileError: The file is missing, damaged, of another kind, holds only weights, code or layers that are not
            part of Keras, or has not one output.
        InputError: A custom class can't be imported, or there is no output of this name.
    """
    path = Path(path)
    format_of(path, ("keras", "h5"), "files saved by Keras, .keras, .h5 or .hdf5")
    with parsing(path):
        refuse_unsafe(path)
    with parsing(path, "Save the model again with Keras."):
        saved = read_saved(path)
    if saved.keras_2:
        keras_2.prefer_keras_2()
    objects = {name.rpartition(":")[2]: _custom(name) for name in custom}
    try:
        model = load_keras_model(path, saved, objects, trust=trust)
    except (MemoryError, EdgepressError):  # the former becomes an error about the file in `open_source`
        raise
    except Exception as e:  # Keras raises ValueError, TypeError, KeyError, OSError and others on damaged files
        raise refusal(path, e, custom, saved) from e
    model = _functional(model, path)
    if output or len(model.outputs) > 1:
        model = _with_output(model, path, output)
    inputs = getattr(model, "inputs", None) or []
    outputs = getattr(model, "outputs", None) or []
    shapes = [[list(t.shape) for t in tensors] for tensors in (inputs, outputs)]
    if not inputs or len(outputs) != 1:
        raise other_ends(path, *shapes, names=list(getattr(model, "output_names", ())))
    return model


def load_keras_model(path: Path, saved: Saved, objects: Mapping[str, Any], *, trust: bool) -> Any:
    """The model of a file, in float32, by the Keras that it is for; whatever that raises passes.

    Args:
        path: The file.
        saved: What `read_saved` returns for it.
        objects: Classes and functions of the user's by their names.
        trust: Whether code in the file may be run.

    Raises:
        MissingExtraError: It is a file of Keras 2, and tf_keras is not installed.
    """
    with repair_file(path, saved, objects) as readable:
        if not saved.keras_2:
            import keras

            return keras.saving.load_model(readable, custom_objects=objects, compile=False, safe_mode=not trust)
        try:
            return keras_2.load(readable, saved.config, objects, trust=trust)
        except ModuleNotFoundError as e:
            if e.name != "tf_keras":
                raise
            subject = f"Opening {path}, a file of Keras {saved.version},"
            raise MissingExtraError(subject, keras_2.PACKAGE, "toolkit") from e


def keras_of(model: Any) -> Any:
    """The Keras that a model belongs to: the package `keras`, or `tf_keras`."""
    import keras

    old = sys.modules.get("tf_keras")
    return old if old is not None and isinstance(model, old.Model) else keras


def _functional(model: Any, path: Path) -> Any:
    """The model as a function from one tensor to one, if it has one input and one output.

    A subclassed model, which has no inputs, gets one of the shape it was built with; a single tensor in a dict or list
    is unpacked.
    """
    import tensorflow as tf

    keras = keras_of(model)
    if not getattr(model, "inputs", None):
        try:
            shape = (model.get_build_config() or {})["input_shape"]
            source = keras.Input(tuple(shape[1:]))
            model = keras.Model(source, model(source))
        except Exception as e:  # whatever the user's class raises, and a shape that is missing or is several
            raise ModelFileError(
                f"{path} is a subclassed model of unknown input shape: {first_line(e)}",
                "Save it as a SavedModel with model.export('folder') and convert that.",
            ) from e
    end = model.layers[-1] if isinstance(model, keras.Sequential) else model
    nested = any(tf.nest.is_nested(x) for x in (getattr(model, "input", None), getattr(end, "output", None)))
    if nested and len(model.inputs) == len(model.outputs) == 1:
        return keras.Model(model.inputs[0], model.outputs[0])
    return model


def _with_output(model: Any, path: Path, output: str) -> Any:
    """The model with the output of this name alone; unchanged if no name was given."""
    names = list(getattr(model, "output_names", ())) or [model.layers[-1].name]  # a Sequential model has none
    inner = {layer.name for layer in model.layers} - {*names}
    if (chosen := chosen_output(str(path), dict.fromkeys(names, True), output, inner)) is None:
        return model
    sink = model.get_layer(chosen).output if chosen in inner else model.outputs[names.index(chosen)]
    return keras_of(model).Model(model.inputs, sink)


def takes_tokens(model: Any) -> bool:
    """Whether the input of a model is that of an embedding, which casts it; Keras calls it float32 by default."""
    import tensorflow as tf

    keras = keras_of(model)
    source = model.inputs[0]
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    readers = [layer for layer in layers if any(tensor is source for tensor in tf.nest.flatten(layer.input))]
    return bool(readers) and all(isinstance(layer, keras.layers.Embedding) for layer in readers)


def _custom(name: str) -> Any:
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as e:  # the module is the user's, and may raise anything
        raise InputError(
            f"The custom class {name!r} can't be imported: {type(e).__name__}: {e}.",
            "Give MODULE:CLASS, with the module installed or its folder in PYTHONPATH.",
        ) from e


_WRAPPERS = (
    "could not be deserialized properly",
    "Error when deserializing",
    "encountered when calling",
    "Could not auto",
)
"""Parts of the messages of errors that Keras wraps around the original one."""


def refusal(path: Path, error: BaseException, custom: Sequence[str], saved: Saved) -> ModelFileError:
    """Keras' error as one of ours, with what to do about it."""
    texts = [str(error)]
    while any(words in texts[-1] for words in _WRAPPERS) and (inner := error.__cause__ or error.__context__):
        error = inner
        texts.append(str(error))
    text = texts[-1].strip()
    here = metadata.version(keras_2.PACKAGE if saved.keras_2 else "keras")
    reason = text.partition("\n")[0]
    if "Lambda" in text and ("safe" in text or "unsafe" in text or "deserializ" in text):
        return ModelFileError(
            f"{path} holds a Lambda layer, which is code and is not run by default.",
            "If you trust the file's origin, give --trust; better, save it with layers instead of Lambdas.",
        )
    if unknown := re.match(r"(?:Could not locate|Unknown|Could not deserialize) (\w+):? '(?:[^']*[.>])?(\w+)'", text):
        if any(str(node.get("module")).startswith("keras") for node in objects_of(saved.config, unknown[2])):
            return ModelFileError(
                f"{path} has the {unknown[1]} {unknown[2]} of Keras {saved.version}, which Keras {here} does not have.",
                f"Install the version that wrote it: pip install keras=={saved.version}",
            )
        option = f" (--custom gave {', '.join(custom)})" if custom else ""
        return ModelFileError(
            f"{path} has the {unknown[1]} {unknown[2]}, which Keras does not know{option}.",
            f"Register it with --custom MODULE:{unknown[2]}.",
        )
    if custom:
        names = {name.rpartition(":")[2]: name for name in custom}
        called = re.findall(r"calling (\w+)\.call|class '(?:[^']*\.)?(\w+)'", "\n".join(texts))
        culprit = next((names[n] for pair in called for n in pair if n in names), ", ".join(custom))
        return ModelFileError(
            f"Keras can't load {path} with --custom {culprit}: {type(error).__name__}: {reason}",
            f"Load the file with {'tf_keras' if saved.keras_2 else 'keras'}.models.load_model and that class, and fix "
            "what fails there.",
        )
    return ModelFileError(
        f"Keras {here} can't load {path}, which Keras {saved.version or 'of unknown version'} wrote: {reason}",
        "Load it where it was made, export it with model.export('folder'), and convert that folder.",
    )
