"""TFLite: one float conversion, and every quantized file derived from it by litert-quantizer.

`TFLiteConverter` is called once, on a frozen graph with batch 1 and built-in operations only. A quantized file is then
a matter of tenths of a second, its recipe is litert-quantizer's, and the statistics are our own (`ranges`), shared by
the schemes that need them. The interface of the scheme table is put on last (`tflite_graph`).
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from edgepress.converters.calibration import Ranges
from edgepress.converters.errors import ConversionError
from edgepress.converters.frozen import Frozen
from edgepress.converters.to_tflite import passes


def float_tflite(frozen: Frozen) -> bytes:
    """A frozen graph of batch 1 as a float TFLite file with a float32 input.

    Raises:
        ConversionError: It needs an operation that is not built into TFLite; the message names it.
    """
    import tensorflow as tf

    # That of a graph's definition: those of functions and of models freeze once more, or save and load, for nothing.
    source, sink = (name.partition(":")[0] for name in (frozen.source, frozen.sink))
    converter = tf.compat.v1.lite.TFLiteConverter(frozen.definition, None, None, [(source, frozen.shape)], [sink])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.exclude_conversion_metadata = True  # its own version: to note that, it would read and write all anew
    try:
        return bytes(converter.convert())
    except Exception as e:  # the converter raises its own ConverterError and bare Exceptions alike
        raise _refusal(str(e), frozen) from e


def _refusal(text: str, frozen: Frozen) -> ConversionError:
    """The converter's refusal: the operations that boards don't have, and the layers they come from."""
    if "TensorList" in text:
        return ConversionError(
            "The model has a loop over time steps (a recurrent layer), which can't be converted to TFLite.",
            "Convert the Keras file, whose layers are unrolled, or build them with unroll=True; ONNX takes the loop.",
        )
    kinds = re.search(r"(?:TF Select|Custom) ops: ([\w, ]+)", text)
    if kinds is None:
        lines = [line.strip() for line in text.splitlines() if "error:" in line]
        return ConversionError(f"TensorFlow's converter refused the model: {(lines or [text.strip()])[0]}")
    wanted = set(kinds[1].replace(",", " ").split())
    layers = sorted({node.name for node in frozen.definition.node if node.op in wanted})
    return ConversionError(
        f"The model needs operations that no board's TFLite interpreter has: {', '.join(sorted(wanted))} "
        f"(in {', '.join(layers[:3]) or 'an unnamed layer'}).",
        "Replace that layer by one made of operations that TFLite has built in.",
    )


def with_precision(float_model: bytes, precision: str, ranges: Ranges | None, *, uint8: bool) -> bytes:
    """Derive a file of the scheme table from a float one.

    Args:
        float_model: A `.tflite` with a float32 input.
        precision: "float32", "float16", "dynamic", "int8" or "int16x8".
        ranges: What `tflite_ranges` measured on `float_model`; needed for "int8" and "int16x8".
        uint8: Whether the file's input shall be uint8 (images); "int8" is uint8 in any case.
    """
    if precision == "int8":
        return passes.uint8_interface(_quantize(float_model, _recipe(precision), ranges))
    result = float_model if precision == "float32" else _quantize(float_model, _recipe(precision), ranges)
    if precision == "int16x8":
        result = passes.int16_kernels(result)
    return passes.uint8_input(result) if uint8 else passes.inline_buffers(result)


def _recipe(precision: str) -> Any:
    from litert_quantizer import qtyping
    from litert_quantizer import recipe as recipes
    from litert_quantizer.algorithm_manager import AlgorithmName
    from litert_quantizer.recipe_manager import RecipeManager

    every, operation = ".*", qtyping.TFLOperationName
    manager = RecipeManager()
    if precision == "float16":
        weights = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
        config = qtyping.OpQuantizationConfig(
            weight_tensor_config=weights, compute_precision=qtyping.ComputePrecision.FLOAT, explicit_dequantize=True
        )
        manager.add_quantization_config(
            every, operation.ALL_SUPPORTED, config, algorithm_key=AlgorithmName.FLOAT_CASTING
        )
        return manager.get_quantization_recipe()
    if precision == "dynamic":
        manager.load_quantization_recipe(recipes.dynamic_wi8_afp32())
        # Per-channel weights of a dynamic FULLY_CONNECTED are read wrong, without an error, by tflite-runtime 2.14
        # (docs/decisions.md); per-tensor ones are read right by every interpreter.
        manager.add_dynamic_config(
            every, operation.FULLY_CONNECTED, num_bits=8, granularity=qtyping.QuantGranularity.TENSORWISE
        )
        return manager.get_quantization_recipe()
    activation_bits = {"int8": 8, "int16x8": 16}[precision]
    manager.add_static_config(every, operation.ALL_SUPPORTED, activation_num_bits=activation_bits, weight_num_bits=8)
    for end in (operation.INPUT, operation.OUTPUT):
        manager.add_quantization_config(every, end, algorithm_key=AlgorithmName.NO_QUANTIZE)
    return manager.get_quantization_recipe()


def _quantize(model: bytes, recipe: Any, ranges: Ranges | None) -> bytes:
    from litert_quantizer.quantizer import Quantizer

    statistics = None
    if ranges is not None:
        statistics = {
            name: {"min": np.array(low, np.float32), "max": np.array(high, np.float32)}
            for name, (low, high) in ranges.items()
        }
    try:
        with _silence():
            result = Quantizer(model, recipe).quantize(statistics, enable_progress_report=False)
    except (ValueError, RuntimeError, KeyError, NotImplementedError) as e:
        raise ConversionError(
            f"litert-quantizer refused the model: {e}", "Other schemes may work; see docs/decisions.md."
        ) from e
    assert result.quantized_model is not None
    return bytes(result.quantized_model)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep litert-quantizer's progress bars, prints and warnings about its own interpreter to itself."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(action="ignore"),
    ):
        yield
