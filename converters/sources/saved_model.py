"""SavedModel folders: the serving signature as a function of one tensor.

A SavedModel is a program that TensorFlow runs, so load only files that you trust. It is opened in a child process with
limits, which contains crashes but is not a sandbox.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgepress.converters.contract.kinds import item_output
from edgepress.converters.errors import first_line
from edgepress.runtime.errors import ModelFileError

SIGNATURES = ("serving_default", "serve")


def is_saved_model(path: Path) -> bool:
    """Whether a path is a SavedModel's folder."""
    return (path / "saved_model.pb").is_file()


def opened(path: Path) -> Any:
    """A SavedModel as TensorFlow loads it.

    Raises:
        ModelFileError: It can't be loaded.
    """
    import tensorflow as tf

    try:
        return tf.saved_model.load(str(path))
    except MemoryError:
        raise
    except Exception as e:  # TensorFlow's errors, and OSError, ValueError, KeyError and others
        raise ModelFileError(f"TensorFlow can't load {path}: {first_line(e)}", "Save the model again.") from e


def load_saved_model(path: Path) -> tuple[Callable[[Any], Any], int | None, tuple[int, ...], tuple[int, ...], str]:
    """The serving signature of a SavedModel.

    Returns:
        A function from one tensor to one, the batch that it takes (None for any), the shape of one item, that of its
        output, and the input's type.

    Raises:
        ModelFileError: It can't be loaded, or its signature has not one input and one output.
    """
    model = opened(path)
    names = list(model.signatures)
    name = next((n for n in SIGNATURES if n in names), None)
    if name is None:
        raise ModelFileError(
            f"{path} has no serving signature; found: {', '.join(names) or 'none'}.",
            f"Export it with the signature {SIGNATURES[0]}, as keras' model.export does.",
        )
    signature = model.signatures[name]
    inputs = signature.structured_input_signature[1]
    outputs = signature.structured_outputs
    shapes: list[list[Any]] = [
        [s.shape.as_list() if s.shape.rank is not None else [] for s in ends.values()] for ends in (inputs, outputs)
    ]
    output_shape = item_output(path, *shapes)
    batch, *shape = shapes[0][0]
    if batch not in (None, 1):
        raise ModelFileError(
            f"{path} takes {batch} items at once.", "Export it with a batch of 1 or a free one (None)."
        )
    (source,), (sink,) = inputs, outputs

    def infer(x: Any) -> Any:
        assert model is not None  # keeps the variables alive
        return signature(**{source: x})[sink]

    return infer, batch, tuple(shape), output_shape, inputs[source].dtype.name
