"""The files that bare tools make of the nets of `accuracy.py`, each with its defaults, from the same calibration items.

Each is made once, in a process of its own, and kept beside the net; why one can't be made is kept, too. A tool gets the
net as its users have it: TFLiteConverter and litert-quantizer the Keras model with batch 1 (of a `.tflite` file,
litert-quantizer gets the float file), ONNX Runtime the float ONNX file that we make without rewrites and repairs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from accuracy_nets import Net, alone

Array = npt.NDArray[Any]
ITEMS = 200
"""Calibration items, as many as `convert` takes unless told otherwise."""


def peer_files(net: Net, names: list[str]) -> dict[str, Path | str]:
    """The file of each tool, or why there is none."""
    found: dict[str, Path | str] = {}
    (net.folder / "peers").mkdir(parents=True, exist_ok=True)
    for name in names:
        path = net.folder / "peers" / f"{name}.{'onnx' if name.startswith('ort') else 'tflite'}"
        error = path.with_suffix(".error")
        if not path.exists() and not error.exists():
            print(f"making {net.name} {name}", file=sys.stderr, flush=True)
            source = net.convert(["onnx-float32"], "float")["onnx-float32"]["file"] if path.suffix == ".onnx" else None
            try:
                alone(_make, net, name, path, source)
            except Exception as e:  # whatever the tool raises
                error.write_text(f"{type(e).__name__}: {str(e)[-200:]}")
        found[name] = path if path.exists() else error.read_text()
    return found


def _make(net: Net, name: str, path: Path, source: Path | None) -> None:
    temporary = path.with_suffix(f".tmp{path.suffix}")
    MAKERS[name](net, temporary, source)
    temporary.rename(path)


def calibration(net: Net) -> Array:
    """The calibration items of a net: training items, spread over the classes, as the data hold them."""
    from edgepress.toolkit.data import calibration_rows, open_data

    train = open_data(net.data).train
    return train.read(calibration_rows(train, ITEMS))


def _converter(net: Net, path: Path, source: Path | None, *, dynamic: bool = False) -> None:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(_of_one(net))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if not dynamic:
        items = calibration(net).astype(np.float32)
        converter.representative_dataset = lambda: ([x[np.newaxis]] for x in items)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    path.write_bytes(converter.convert())


def _litert(
    net: Net, path: Path, source: Path | None, *, bits: int = 8, algorithm: str = "", dynamic: bool = False
) -> None:
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter
    from litert_quantizer import qtyping, recipe
    from litert_quantizer.algorithm_manager import AlgorithmName
    from litert_quantizer.quantizer import Quantizer
    from litert_quantizer.recipe_manager import RecipeManager

    keras_model = net.model.suffix != ".tflite"
    model = (
        bytes(tf.lite.TFLiteConverter.from_keras_model(_of_one(net)).convert())
        if keras_model
        else net.model.read_bytes()
    )
    manager, operation = RecipeManager(), qtyping.TFLOperationName
    if dynamic:
        manager.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    else:
        manager.load_quantization_recipe(recipe.static_wi8_ai8())
    for kind in (operation.CONV_2D, operation.FULLY_CONNECTED) if bits == 4 else ():
        key = AlgorithmName[algorithm]
        manager.add_static_config(".*", kind, activation_num_bits=8, weight_num_bits=4, algorithm_key=key)
    quantizer, seen = Quantizer(model, manager.get_quantization_recipe()), None
    if not dynamic:
        ((signature, names),) = Interpreter(model_content=model).get_signature_list().items()
        low, high = net.range
        items = calibration(net).astype(np.float32) * (1.0 if keras_model else (high - low) / 255) + (
            0.0 if keras_model else low
        )
        seen = quantizer.calibrate({signature: [{names["inputs"][0]: x[np.newaxis]} for x in items]})
    made = quantizer.quantize(seen).quantized_model
    assert made is not None
    path.write_bytes(bytes(made))


def _ort(net: Net, path: Path, source: Path | None, *, percentile: bool = False, dynamic: bool = False) -> None:
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    if source is None:
        raise FileNotFoundError("there is no float ONNX file")
    name = onnx.load(source).graph.input[0].name

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.items = iter(calibration(net))

        def get_next(self) -> dict[str, Array] | None:
            item = next(self.items, None)
            return None if item is None else {name: item[np.newaxis]}

    prepared = path.with_suffix(".prepared.onnx")
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    if dynamic:
        quantize_dynamic(str(prepared), str(path))
    else:
        options = {"calibrate_method": CalibrationMethod.Percentile} if percentile else {}
        quantize_static(str(prepared), str(path), Reader(), **options)
    prepared.unlink()


MAKERS: dict[str, Callable[[Net, Path, Path | None], None]] = {
    "converter": _converter,
    "litert-q": _litert,
    "ort": _ort,
    "ort-percentile": partial(_ort, percentile=True),
    "converter-dynamic": partial(_converter, dynamic=True),
    "litert-q-dynamic": partial(_litert, dynamic=True),
    "ort-dynamic": partial(_ort, dynamic=True),
    "litert-q-int4": partial(_litert, bits=4, algorithm="MIN_MAX_UNIFORM_QUANT"),
    "litert-q-int4-mse": partial(_litert, bits=4, algorithm="MSE"),
    "litert-q-int4-octav": partial(_litert, bits=4, algorithm="OCTAV"),
}
"""Makes a tool's file; the name says the tool and what is not its default."""
INT8 = ["converter", "litert-q", "ort", "ort-percentile"]
DYNAMIC = ["converter-dynamic", "litert-q-dynamic", "ort-dynamic"]
INT4 = ["litert-q-int4", "litert-q-int4-mse", "litert-q-int4-octav"]


def _of_one(net: Net) -> Any:
    """The Keras model with batch 1 that takes pixels 0-255."""
    import keras

    from edgepress.converters.sources.keras import load_keras

    model = load_keras(net.model)
    low, high = net.range
    source = keras.Input(batch_shape=(1, *model.input_shape[1:]))
    pixels = source if (low, high) == (0.0, 255.0) else keras.layers.Rescaling((high - low) / 255, low)(source)
    return keras.Model(source, model(pixels))
