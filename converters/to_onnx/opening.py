"""Open an ONNX file that others made, in the form that quantizers take."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import onnx
import onnx.inliner

from edgepress.converters.errors import ConversionError
from edgepress.converters.files import weight_files
from edgepress.converters.to_onnx.classical import with_layers
from edgepress.converters.to_onnx.foreign import tidy_model
from edgepress.converters.to_onnx.forms import with_plain_forms
from edgepress.converters.to_onnx.interface import STANDARD
from edgepress.converters.to_onnx.upgrade import upgrade_model
from edgepress.runtime.errors import EdgepressError, InputError, ModelFileError, first_line
from edgepress.runtime.protobuf import check_functions

NAMED = 3
"""Files that an error names."""


def open_model(
    path: Path, output: str = "", on_note: Callable[[str], None] = lambda text: None
) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Read and tidy a model, and derive the form that quantizers take.

    Args:
        path: The file.
        output: Name of the output to keep, if there are several; see `foreign.tidy_model`.
        on_note: Called with remarks for the user.

    Returns:
        The tidied model, and a form with functions inlined, weights not listed as inputs, and an opset that has QDQ;
        both are one object if nothing of that changes what is computed.

    Raises:
        InputError: There is no output of this name.
        ModelFileError: It is not a valid ONNX model, or the file with its weights is missing.
        ConversionError: It has operations that ONNX Runtime's CPU kernels lack.
    """
    try:
        check_functions(str(path))
        original = model = onnx.load(path)
        for text in tidy_model(model, str(path), output):
            on_note(text)
        model.ir_version = max(model.ir_version, 8)  # up to 3, weights had to be listed as inputs; some files lack them
        onnx.checker.check_model(model)
        if model.functions:  # quantizers do not look into functions
            model = onnx.inliner.inline_local_functions(model, convert_version=True)
        model = with_layers(model)
    except EdgepressError:
        raise
    except Exception as e:  # protobuf, onnx and the file system raise their own
        if missing := _missing_weights(path):
            raise ModelFileError(
                f"{path} keeps its weights in {', '.join(missing)}, which is missing.",
                "Copy it into the same folder, or export the model with its weights inside.",
            ) from e
        raise ModelFileError(f"{path} is not a valid ONNX model: {first_line(e)}", "Export it again.") from e
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    _refuse_other_domains(model, path)
    newer = upgrade_model(model, path)
    try:
        return original, with_plain_forms(newer)
    except Exception as e:  # what Python and NumPy raise for attributes of wrong types, counts and sizes
        raise ModelFileError(f"{path} has an operation that is not valid: {first_line(e)}", "Export it again.") from e


def _missing_weights(path: Path) -> list[str]:
    """The first files with weights of a model that can't be opened whole, if they are not beside it."""
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception:  # not a model either
        return []
    return [name for name in weight_files(model) if not (path.parent / name).exists()][:NAMED]


def _refuse_other_domains(model: onnx.ModelProto, path: Path) -> None:
    """Refuse operations that are neither ONNX' standard ones nor ONNX Runtime's own."""
    domains = sorted({node.domain for node in model.graph.node} - {*STANDARD, "com.microsoft"})
    if not domains:
        return
    nodes = [node for node in model.graph.node if node.domain in domains]
    kind = "custom operations"
    hint = "Use standard operations only."
    if domains == ["ai.onnx.ml"]:
        kind = "operations of classical machine learning, which are not layers of a network"
        hint = (
            "Scaler, Normalizer (L1, L2), Binarizer, ArrayFeatureExtractor and LinearClassifier with a score for each "
            "class are converted; trees, support vectors and neighbours are not."
        )
    operations = f"{', '.join(sorted({node.op_type for node in nodes}))} of {', '.join(domains)}"
    where = nodes[0].name or nodes[0].output[0]
    raise ConversionError(f"{path} has {kind}: {operations} (in {where}).", hint)


def with_shape(model: onnx.ModelProto, shape: tuple[int, ...], where: str) -> onnx.ModelProto:
    """The model of a file (`where`) with the sizes of its items fixed, and what follows from them; the batch stays.

    Raises:
        InputError: The graph does not take items of this shape.
    """
    whole = copy.deepcopy(model)
    (source,) = whole.graph.input
    for dim, size in zip(source.type.tensor_type.shape.dim[1:], shape, strict=True):
        dim.dim_value = size
    for value in whole.graph.output:  # free sizes of it may be known now
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.Clear()
    del whole.graph.value_info[:]  # inferred again
    try:
        return onnx.shape_inference.infer_shapes(whole, strict_mode=True, data_prop=True)
    except Exception as e:  # InferenceError, and ValueError over 2 GB
        raise InputError(
            f"{where} does not take items of shape {list(shape)}: {first_line(e)}.",
            "Give another size, or export the model with an input of fixed size.",
        ) from e
