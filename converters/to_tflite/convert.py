"""Convert a frozen graph to float TFLite, and derive every TFLite scheme from it by litert-quantizer.

`TFLiteConverter` is called once, on a frozen graph with batch 1 and built-in operations only. A quantized file
then takes tenths of a second. Its recipe is litert-quantizer's; the statistics come from `calibration` and are shared
by the schemes that need them. The types of input and output are set last (`passes`).
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np

from edgepress.converters.adapter import EXACT
from edgepress.converters.errors import ConversionError
from edgepress.converters.float_layers import NOTHING, FloatLayers
from edgepress.converters.freezing.frozen import Frozen
from edgepress.converters.numeric.statistics import Ranges
from edgepress.converters.schemes import Scheme
from edgepress.converters.to_tflite import interface, passes
from edgepress.converters.to_tflite.constants import with_marks_on_grids
from edgepress.converters.to_tflite.float_layers import (
    float_chain_names,
    normalization_names,
    reads_input,
    small_products,
    with_constant_left,
)
from edgepress.converters.to_tflite.graph import Graph
from edgepress.converters.to_tflite.grids import four_bit_names, refuse_scales, with_fitting_biases
from edgepress.converters.to_tflite.interface import Uint8, with_input_names
from edgepress.converters.to_tflite.passes import with_short_names

FLOAT_NORMALIZATION = "float-normalization"
"""The rewrite that leaves `to_tflite.float_layers` in float."""
CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")
ISLAND_MARK = "float"
ISLAND = re.compile(r"^edgepress(_again)*_float_")
"""Matches the names of tensors that stay float in files of integers, because rewrites made them for float kernels."""


def float_tflite(frozen: Frozen) -> bytes:
    """A frozen graph of batch 1 as a float TFLite file with a float32 input.

    Raises:
        ConversionError: It needs an operation that is not built into TFLite, which the message names.
    """
    import tensorflow as tf

    # The converter for graph definitions: those for functions and models would freeze again, or save and load.
    sources = [(name.partition(":")[0], shape) for name, shape in frozen.sources.items()]
    sink = frozen.sink.partition(":")[0]
    converter = tf.compat.v1.lite.TFLiteConverter(frozen.definition, None, None, sources, [sink])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    # To note its own version, the converter would read and write the whole file again.
    converter.exclude_conversion_metadata = True
    try:
        return with_short_names(with_input_names(bytes(converter.convert()), frozen.names))
    except Exception as e:  # the converter raises its own ConverterError and bare Exceptions alike
        raise _refusal(str(e), frozen) from e


def _refusal(text: str, frozen: Frozen) -> ConversionError:
    """The converter's error as one of ours, with the unsupported operations and their layers."""
    if "TensorList" in text:
        return ConversionError(
            "The model has a loop over time steps (a recurrent layer), which can't be converted to TFLite.",
            "Convert the Keras file, whose layers are unrolled, build them with unroll=True, or use ONNX schemes.",
        )
    kinds = re.search(r"(?:TF Select|Custom) ops: ([\w, ]+)", text)
    if kinds is None:
        lines = [line.strip() for line in text.splitlines() if "error:" in line]
        reason = (lines or [text.strip()])[0]
        return ConversionError(f"TensorFlow's converter refused the model: {reason}", "ONNX schemes may still work.")
    operations = set(kinds[1].replace(",", " ").split()) - {"Placeholder"}  # of a table that another one reads
    layers = sorted({node.name for node in frozen.definition.node if node.op in operations})
    return ConversionError(
        f"The model needs operations that TFLite interpreters on boards lack: {', '.join(sorted(operations))} "
        f"(in {', '.join(layers[:3]) or 'an unnamed layer'}).",
        "Replace that layer by operations that are built into TFLite.",
    )


def with_scheme(
    float_model: bytes,
    scheme: Scheme,
    ranges: Ranges | None,
    rewrites: Collection[str] = (),
    *,
    uint8: Uint8,
    float_layers: FloatLayers = NOTHING,
) -> bytes:
    """Derive a file of the scheme table from a float one.

    Args:
        float_model: A `.tflite` with a float32 input.
        scheme: A TFLite scheme.
        ranges: What `tflite_statistics` measured on `float_model`; needed for calibrated schemes.
        rewrites: Names of the rewrites that the recipe makes.
        uint8: Whether the file takes uint8 (images), or the places of the inputs that do; one with uint8 output does in
            any case.
        float_layers: What stays float in a file of mixed precision.
    """
    recipe = RECIPES[scheme.precision]
    if float_layers.layers and recipe is not None:
        recipe = partial(_with_float_layers, recipe=recipe, float_layers=float_layers)
    result = float_model if recipe is None else _quantize(float_model, recipe, rewrites, ranges)
    if scheme.calibrated:
        result = with_fitting_biases(result, float_model)
    if scheme.output_dtype == "uint8":
        refuse_scales(result)
        in_float = scheme.is_mixed or FLOAT_NORMALIZATION in rewrites
        in_float |= "float-chains" in rewrites and reads_input(Graph(float_model))
        result = interface.uint8_interface(result, ranges or {}, float_input=in_float, pixels=uint8)
        result = with_marks_on_grids(result, float_model, ranges or {})
        return interface.uint8_input(result, uint8) if uint8 else result
    if scheme.calibrated:
        result = passes.int16_kernels(with_marks_on_grids(result, float_model, ranges or {}))
    return interface.uint8_input(result, uint8) if uint8 else passes.inline_buffers(result)


def _float16(manager: Any, qtyping: Any, model: bytes, rewrites: Collection[str]) -> None:
    from litert_quantizer.algorithm_manager import AlgorithmName

    weights = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
    config = qtyping.OpQuantizationConfig(
        weight_tensor_config=weights, compute_precision=qtyping.ComputePrecision.FLOAT, explicit_dequantize=True
    )
    manager.add_quantization_config(
        ".*", qtyping.TFLOperationName.ALL_SUPPORTED, config, algorithm_key=AlgorithmName.FLOAT_CASTING
    )
    if "depthwise-float32" in rewrites:
        depthwise = qtyping.TFLOperationName.DEPTHWISE_CONV_2D
        manager.add_quantization_config(".*", depthwise, algorithm_key=AlgorithmName.NO_QUANTIZE)


def _dynamic(manager: Any, qtyping: Any, model: bytes, rewrites: Collection[str]) -> None:
    from litert_quantizer import recipe
    from litert_quantizer.algorithm_manager import AlgorithmName

    manager.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    # Per-channel weights of a dynamic FULLY_CONNECTED are read wrong, without an error, by tflite-runtime 2.14
    # (docs/decisions.md); per-tensor ones are read right by every interpreter.
    dense = qtyping.TFLOperationName.FULLY_CONNECTED
    tensorwise = qtyping.QuantGranularity.TENSORWISE
    manager.add_dynamic_config(".*", dense, num_bits=8, granularity=tensorwise)
    if "depthwise-weights" in rewrites:
        manager.add_weight_only_config(".*", qtyping.TFLOperationName.DEPTHWISE_CONV_2D, num_bits=8)
    if names := float_chain_names(Graph(model)) + with_constant_left(Graph(model)):
        every = qtyping.TFLOperationName.ALL_SUPPORTED
        manager.add_quantization_config(_making(names), every, algorithm_key=AlgorithmName.NO_QUANTIZE)
    if "small-products" in rewrites and (names := small_products(model)):
        manager.add_weight_only_config(_making(names), qtyping.TFLOperationName.CONV_2D, num_bits=8)


def _weights8(manager: Any, qtyping: Any, model: bytes, rewrites: Collection[str]) -> None:
    from litert_quantizer import recipe

    # DEQUANTIZE of constants runs once, when the file is opened; then all kernels are those of float32.
    manager.load_quantization_recipe(recipe.weight_only_wi8_afp32())


def _static(
    manager: Any, qtyping: Any, model: bytes, rewrites: Collection[str], *, activation_bits: int, weight_bits: int = 8
) -> None:
    """The ends stay float: the passes that give a file its interface quantize them."""
    from litert_quantizer.algorithm_manager import AlgorithmName

    operation = qtyping.TFLOperationName
    bits = {"activation_num_bits": activation_bits, "weight_num_bits": 8}
    manager.add_static_config(".*", operation.ALL_SUPPORTED, **bits)
    # The integer kernel of BATCH_MATMUL reads one scale of its weights: if there are several, it returns zeros.
    tensorwise = qtyping.QuantGranularity.TENSORWISE
    manager.add_static_config(".*", operation.BATCH_MATMUL, weight_granularity=tensorwise, **bits)
    if weight_bits == 4 and (names := four_bit_names(model)):
        for kind in (operation.CONV_2D, operation.FULLY_CONNECTED):
            manager.add_static_config(_making(names), kind, activation_num_bits=8, weight_num_bits=4)
    for end in (operation.INPUT, operation.OUTPUT):
        manager.add_quantization_config(".*", end, algorithm_key=AlgorithmName.NO_QUANTIZE)
    manager.add_quantization_config(ISLAND.pattern, operation.ALL_SUPPORTED, algorithm_key=AlgorithmName.NO_QUANTIZE)
    in_float = float_chain_names(Graph(model)) if "float-chains" in rewrites else []
    if FLOAT_NORMALIZATION in rewrites:
        in_float += normalization_names(model)
    in_float += _with_computed_weights(Graph(model))
    if activation_bits == 16:
        in_float += with_constant_left(Graph(model))
    if in_float:
        pattern = _making(in_float)
        manager.add_quantization_config(pattern, operation.ALL_SUPPORTED, algorithm_key=AlgorithmName.NO_QUANTIZE)
    manager.add_weight_only_config(ISLAND.pattern, operation.DEPTHWISE_CONV_2D, num_bits=8)


def _with_computed_weights(graph: Graph) -> list[str]:
    """Names of what convolutions with computed weights make: integer kernels want these symmetric, as constants are."""
    return [
        graph.output_name(op)
        for op in graph.operators
        if graph.kind(op) in CONVOLUTIONS and graph.constant(int(op.inputs[1])) is None
    ]


def _with_float_layers(
    manager: Any,
    qtyping: Any,
    model: bytes,
    rewrites: Collection[str],
    *,
    recipe: Callable[..., None],
    float_layers: FloatLayers,
) -> None:
    """A recipe for all operations but those of some layers, which compute in float."""
    from litert_quantizer.algorithm_manager import AlgorithmName

    recipe(manager, qtyping, model, rewrites)
    operation = qtyping.TFLOperationName
    names = _with_extensions(Graph(model), {name for layer in float_layers.layers for name in layer.tensors})
    manager.add_quantization_config(_making(names), operation.ALL_SUPPORTED, algorithm_key=AlgorithmName.NO_QUANTIZE)
    if names := [name for layer in float_layers.in_bytes for name in layer.tensors]:
        for kind in (operation.CONV_2D, operation.DEPTHWISE_CONV_2D, operation.FULLY_CONNECTED):
            manager.add_weight_only_config(_making(names), kind, num_bits=8)


def _with_extensions(graph: Graph, names: set[str]) -> list[str]:
    """These names of tensors, and those of tensors that rewrites have put in front of them, such as "NAME_columns"."""
    readers = graph.readers()
    extension = re.compile("(" + "|".join(map(re.escape, names)) + r")_(?!\d+$).+")  # dense_1 is another layer
    extended = set(names)
    for op in reversed(graph.operators):
        output = int(op.outputs[0])
        read_for = {graph.output_name(reader) for reader in readers.get(output, ()) if reader is not None}
        if extension.fullmatch(graph.name(output)) and read_for and read_for <= extended:
            extended.add(graph.name(output))
    return sorted(extended)


def _making(names: Iterable[str]) -> str:
    """A pattern of litert-quantizer that matches the operations which make some of these tensors."""
    return "^((" + "|".join(re.escape(name) for name in names) + ");)+$"


RECIPES: dict[str, Callable[..., None] | None] = {
    "float32": None,
    "float16": _float16,
    "dynamic": _dynamic,
    "int8": partial(_static, activation_bits=8),
    "int16x8": partial(_static, activation_bits=16),
    "int4": partial(_static, activation_bits=8, weight_bits=4),
    "weights8": _weights8,
    "mixed": partial(_static, activation_bits=8),
}
"""Fills litert-quantizer's recipe manager for a model and rewrites, by `Scheme.precision`; None quantizes nothing."""


def _quantize(model: bytes, recipe: Callable[..., None], rewrites: Collection[str], ranges: Ranges | None) -> bytes:
    # Ranges that calibrate() did not make, as that needs signatures (ai-edge-quantizer#266; docs/architecture.md).
    from litert_quantizer import qtyping
    from litert_quantizer.algorithm_manager import AlgorithmName
    from litert_quantizer.quantizer import Quantizer
    from litert_quantizer.recipe_manager import RecipeManager

    manager = RecipeManager()
    statistics = None
    if ranges is not None:
        statistics = {
            name: {"min": np.array(low, np.float32), "max": np.array(high, np.float32)}
            for name, (low, high) in ranges.items()
        }
    try:
        with _silence():
            recipe(manager, qtyping, model, rewrites)
            manager.add_quantization_config(
                EXACT.pattern, qtyping.TFLOperationName.ALL_SUPPORTED, algorithm_key=AlgorithmName.NO_QUANTIZE
            )
            quantizer = Quantizer(model, manager.get_quantization_recipe())
            result = quantizer.quantize(statistics, enable_progress_report=False)
    except (ValueError, RuntimeError, KeyError, NotImplementedError) as e:
        raise ConversionError(
            f"litert-quantizer refused the model: {e}", "Other schemes may work; see docs/decisions.md."
        ) from e
    assert result.quantized_model is not None
    return bytes(result.quantized_model)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Suppress litert-quantizer's progress bars, prints and warnings about its own interpreter."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(action="ignore"),
    ):
        yield
