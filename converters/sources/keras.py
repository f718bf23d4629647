"""Open Keras files safely: code in them is run only with `trust`, and every refusal gives a reason.

`.keras` of Keras 3, and `.h5`/`.hdf5` of Keras 2 and 3. Files of Keras 2 fail in Keras 3 for mechanical reasons: an
option that was removed, at the value that it always had. Such options are deleted from a copy (`_GONE`), and types of
mixed precision are replaced by float32. The kind of a file is recognized by its content, not by its suffix.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress.converters.contract.kinds import other_ends
from edgepress.converters.sources.bombs import refuse_bomb
from edgepress.runtime.errors import InputError, ModelFileError, first_line, parsing
from edgepress.runtime.filetypes import format_of

if TYPE_CHECKING:
    import keras

_CONFIG = "config.json"
_GONE: dict[str, dict[str, tuple[Any, ...]]] = {
    "DepthwiseConv2D": {"groups": (1,)},
    "BatchNormalization": {"renorm": (False, None), "fused": (True, False, None), "virtual_batch_size": (None,)},
    "LSTM": {"time_major": (False,), "implementation": (0, 1, 2)},
    "GRU": {"time_major": (False,), "implementation": (0, 1, 2)},
    "SimpleRNN": {"time_major": (False,)},
    "RNN": {"time_major": (False,)},
}
"""Options that Keras 2 wrote and Keras 3 refuses, with the values for which deleting them changes nothing."""
_FLOATS = re.compile(r"(mixed_)?b?float16|float64")
"""Other float types and policies of training: every scheme is derived from a float32 model."""


def load_keras(path: str | Path, *, custom: Sequence[str] = (), trust: bool = False) -> keras.Model:
    """Load a model for inference, without its optimizer, as a function of one tensor to one.

    Args:
        path: A `.keras`, `.h5` or `.hdf5` file.
        custom: "module:Class" of custom layers; the modules are imported.
        trust: Whether Lambda layers, which are code in the file, may be run.

    Raises:
        ModelFileError: The file is missing, damaged, of another kind, holds only weights, code or layers that are not
            part of Keras, or has not one input and one output.
        InputError: A custom class can't be imported.
    """
    path = Path(path)
    format_of(path, ("keras", "h5"), "files saved by Keras, .keras, .h5 or .hdf5")
    with parsing(path):
        refuse_bomb(path)
    import keras

    objects = {name.rpartition(":")[2]: _custom(name) for name in custom}
    try:
        with mended(path) as readable:
            model = keras.saving.load_model(readable, custom_objects=objects, compile=False, safe_mode=not trust)
    except (MemoryError, ModelFileError):  # the former becomes an error about the file in `open_source`
        raise
    except Exception as e:  # Keras raises ValueError, TypeError, KeyError, OSError and others on damaged files
        raise _refusal(path, e, custom) from e
    model = _functional(model, path)
    inputs, outputs = getattr(model, "inputs", None) or [], getattr(model, "outputs", None) or []
    shapes = [[list(t.shape) for t in tensors] for tensors in (inputs, outputs)]
    if len(inputs) != 1 or len(outputs) != 1:
        raise other_ends(path, *shapes)
    return model


def _functional(model: Any, path: Path) -> Any:
    """The model as a function from one tensor to one, if it has one input and one output.

    A subclassed model, which has no inputs, gets one of the shape it was built with; a single tensor in a dict or list
    is unpacked.
    """
    import keras

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
    nested = any(keras.tree.is_nested(x) for x in (getattr(model, "input", None), getattr(end, "output", None)))
    if nested and len(model.inputs) == len(model.outputs) == 1:
        return keras.Model(model.inputs[0], model.outputs[0])
    return model


def takes_tokens(model: Any) -> bool:
    """Whether the input of a model is that of an embedding, which casts it; Keras calls it float32 by default."""
    import keras

    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    readers = [layer for layer in layers if model.inputs[0] in keras.tree.flatten(layer.input)]
    return bool(readers) and all(isinstance(layer, keras.layers.Embedding) for layer in readers)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, or of a folder's files in the order of their names, in hexadecimal."""
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        parts = [f"{p.relative_to(path).as_posix()} {sha256_of(p)}" for p in files]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


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


def _refusal(path: Path, error: BaseException, custom: Sequence[str]) -> ModelFileError:
    """Keras' error as one of ours, with what to do about it."""
    texts = [str(error)]
    while any(words in texts[-1] for words in _WRAPPERS) and (inner := error.__cause__ or error.__context__):
        error = inner
        texts.append(str(error))
    text = texts[-1].strip()
    reason = text.partition("\n")[0]
    if "Lambda" in text and ("safe" in text or "unsafe" in text or "deserializ" in text):
        return ModelFileError(
            f"{path} holds a Lambda layer, which is code and is not run by default.",
            "If you trust the file's origin, give --trust; better, save it with layers instead of Lambdas.",
        )
    if unknown := re.match(r"(?:Could not locate|Unknown|Could not deserialize) (\w+):? '(?:[^']*[.>])?(\w+)'", text):
        given = f" (--custom gave {', '.join(custom)})" if custom else ""
        return ModelFileError(
            f"{path} has the {unknown[1]} {unknown[2]}, which Keras does not know{given}.",
            f"Register it with --custom MODULE:{unknown[2]}.",
        )
    if custom:
        names = {name.rpartition(":")[2]: name for name in custom}
        called = re.findall(r"calling (\w+)\.call|class '(?:[^']*\.)?(\w+)'", "\n".join(texts))
        culprit = next((names[n] for pair in called for n in pair if n in names), ", ".join(custom))
        return ModelFileError(
            f"Keras can't load {path} with --custom {culprit}: {type(error).__name__}: {reason}",
            "Load the file with keras.saving.load_model and that class, and fix what fails there.",
        )
    return ModelFileError(f"Keras can't load {path}: {reason}", "Save the model again with Keras 3.")


@contextlib.contextmanager
def mended(path: Path) -> Iterator[Path]:
    """The file under the suffix of its content, or a copy without the options that Keras 3 refuses, in float32.

    Raises:
        ModelFileError: It holds only weights, or is damaged.
    """
    import h5py

    with path.open("rb") as file:
        archived = file.read(4) != b"\x89HDF"
    suffix = ".keras" if archived else ".h5"
    config = json.loads(zipfile.Path(path, _CONFIG).read_bytes() if archived else _h5_config(path))
    changed = _mend(config)
    if not changed and path.suffix == suffix:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / f"mended{suffix}"
        if not changed:
            try:
                copy.symlink_to(path.resolve())
            except OSError:  # Windows allows links to few users
                shutil.copyfile(path, copy)
        elif archived:
            with zipfile.ZipFile(path) as old, zipfile.ZipFile(copy, "w") as new:
                for member in old.infolist():
                    with old.open(member) as source, new.open(member.filename, "w", force_zip64=True) as target:
                        if member.filename == _CONFIG:
                            target.write(json.dumps(config).encode())
                        else:
                            shutil.copyfileobj(source, target)
        else:
            shutil.copyfile(path, copy)
            with h5py.File(copy, "r+") as file:
                file.attrs["model_config"] = json.dumps(config)
        yield copy


def _h5_config(path: Path) -> str | bytes:
    import h5py

    with h5py.File(path, "r") as file:
        text: str | bytes | None = file.attrs.get("model_config")
    if text is None:
        raise ModelFileError(
            f"{path} holds weights alone, without the model.",
            "Build the model, load the weights and save the whole model with model.save('model.keras').",
        )
    return text


def _mend(node: Any) -> bool:
    """Take refused options and other floats than float32 out of a configuration, in place; whether there were any."""
    if isinstance(node, list):
        return sum(map(_mend, node)) > 0  # not any(), which would stop at the first
    if not isinstance(node, dict):
        return False
    changed = False
    for key, value in node.items():
        policy = isinstance(value, dict) and str(value.get("class_name")).endswith("Policy")
        name = value["config"].get("name") if policy and isinstance(value.get("config"), dict) else value
        if (policy or key == "dtype") and isinstance(name, str) and _FLOATS.fullmatch(name):
            node[key] = "float32"
            changed = True
    changed |= sum(map(_mend, node.values())) > 0
    config = node.get("config")
    if isinstance(config, dict):
        for key, harmless in _GONE.get(str(node.get("class_name")), {}).items():
            if key in config and config[key] in harmless:
                del config[key]
                changed = True
    return changed
