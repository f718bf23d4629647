"""Published models: as they are, against a bare interpreter; and our files of them, against their own quantized files.

    python benchmarks/accuracy/published_models.py --real FOLDER  # the folder of real models and data, see its README
    python benchmarks/accuracy/published_models.py --real FOLDER --as-they-are  # the first part only

* Every published `.tflite` and `.onnx` classifier through `edgepress evaluate FILE [options]` on MNIST, beside a loop
  around the bare interpreter that prepares the pixels itself. Where there are no labelled data, the largest difference
  between the scores of `edgepress.runtime` and of that loop, on photos or random items.

* MLPerf Tiny's ResNet8: how often our int8 file, made from the `.h5`, puts an image in the class of the published float
  `.tflite`, beside how often the published int8 file does; on sign language photos and on crops of other photos.
* A user's MNIST net trained on pixels of 0-1: accuracy of our files on raw pixels (`--input-range 0,1`), of the bare
  Keras model on 0-1 pixels, and of the same model fed raw pixels, which is what a plain conversion would do.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import onnxruntime
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from edgepress.converters.sources.keras import load_keras
from edgepress.runtime import InputSpec, load
from edgepress.runtime.image import load_image
from edgepress.runtime.selftest import seeded_item
from edgepress.toolkit.conversion.convert import Hints, convert
from edgepress.toolkit.data import open_data
from edgepress.toolkit.data.for_model import describe
from edgepress.toolkit.machine.host import describe_host
from edgepress.toolkit.measurement.evaluation import evaluate

CROPS = 200


def main() -> None:
    """Compare, print one JSON document; exit with 1 if figures differ, or ours agrees less than the published file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--as-they-are", action="store_true")
    args = parser.parse_args()
    real = args.real
    result = {"host": describe_host(), "as_they_are": as_they_are(real)}
    failed = any(not row["equal"] for row in result["as_they_are"].values())
    if not args.as_they_are:
        with tempfile.TemporaryDirectory() as folder:
            result |= {"resnet8": resnet8(real, Path(folder)), "mnist": mnist(real, Path(folder))}
        failed |= any(row["ours"] < row["published"] for row in result["resnet8"].values())
    print(json.dumps(result))
    sys.exit(failed)


NOTHING = Hints()


@dataclass(frozen=True)
class Published:
    """A published file: what edgepress needs to know, and how a bare loop prepares pixels, uint8 (N, h, w, c)."""

    file: str
    prepare: Callable[[np.ndarray], np.ndarray]
    hints: Hints = NOTHING


def unit(x: np.ndarray) -> np.ndarray:
    """Pixels as 0 to 1."""
    return x.astype(np.float32) / 255


def signed(x: np.ndarray) -> np.ndarray:
    """Pixels as -1 to 1."""
    return (x.astype(np.float32) - 127.5) / 127.5


def int8(x: np.ndarray) -> np.ndarray:
    """Pixels less 128."""
    return (x.astype(np.int16) - 128).astype(np.int8)


def first(x: np.ndarray) -> np.ndarray:
    """Channels first."""
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


UNIT, RAW = Hints(input_range="0,1"), Hints(input_range="0,255")
DIGITS = (
    Published("ai_edge_quantizer/conv_fc_mnist.tflite", unit, UNIT),
    Published("ai_edge_quantizer/mnist_quantized.tflite", unit, UNIT),
    Published("ai_edge_quantizer/partly_quantized_mnist.tflite", unit, UNIT),
    Published("ai_edge_quantizer/conv_fc_mnist_srq_a8w8.tflite", int8),
    Published("tflm/trained_lstm.tflite", lambda x: unit(x[..., 0]), UNIT),
    Published("tflm/trained_lstm_int8.tflite", lambda x: int8(x[..., 0]), Hints(color="grey")),
    Published("coral/keras_lstm_mnist_ptq.tflite", lambda x: x[..., 0], Hints(color="grey")),
    Published("user_keras/gowtham_model.tflite", unit, UNIT),
    Published("onnx/mnist-8.onnx", lambda x: first(x.astype(np.float32)), RAW),
    Published("onnx/mnist_quantized_ort2020.onnx", lambda x: first(unit(x)), UNIT),
)
"""Classifiers of MNIST."""
OTHERS = (
    Published("tflite_support/mobilenet_v1_0.25_224_1_default_1.tflite", signed, Hints(input_range="-1,1")),
    Published("tflite_support/mobilenet_v1_0.25_224_quant.tflite", lambda x: x),
    Published("tflite_support/automl_labeler_model.tflite", lambda x: x),
    Published("coral/mobilenet_v1_0.25_128_quant.tflite", lambda x: x),
    Published("mlperf_tiny/pretrainedResnet.tflite", lambda x: x.astype(np.float32), RAW),
    Published("mlperf_tiny/pretrainedResnet_quant.tflite", int8),
    Published("mlperf_tiny/vww_96_float.tflite", unit, UNIT),
    Published("mlperf_tiny/vww_96_int8.tflite", int8),
    Published("mlperf_tiny/kws_ref_model_float32.tflite", lambda x: x),
    Published("mlperf_tiny/kws_ref_model.tflite", lambda x: np.clip(np.rint(x / KWS[0]) + KWS[1], -128, 127)),
    Published("mltk/image_example1.tflite", int8),
)
"""Classifiers of images, those of photos among them, and of tensors."""
KWS = (0.5847029089927673, 83)
"""Scale and zero point of the input of the quantized keyword model."""


def as_they_are(real: Path) -> dict[str, dict[str, Any]]:
    """Figures of every published classifier by edgepress and by a bare loop."""
    data, rows = str(real / "data" / "mnist"), {}
    test = open_data(data).test
    digits = test.read(slice(None))
    for known in DIGITS:
        path = real / "models" / known.file
        found = evaluate(path, data=data, hints=known.hints)
        ours, theirs = found["accuracy"], float((bare(path, known.prepare(digits)).argmax(1) == test.y).mean())
        rows[known.file] = {"edgepress": ours, "bare": theirs, "items": len(digits), "equal": ours == theirs}
        print(f"{known.file}: accuracy {ours:.4f}, bare loop {theirs:.4f}", file=sys.stderr)
    photos = sorted(p for p in (real / "data" / "coral").iterdir() if p.suffix in (".jpg", ".bmp"))
    for known in OTHERS:
        path = real / "models" / known.file
        contract = describe(path, known.hints).contract
        model = load(path, contract=contract)
        if contract.input.color == "rgb":
            items = np.stack([load_image(p, contract.input) for p in photos])
        else:
            items = np.stack([seeded_item(contract.input, seed) for seed in range(50)])
        ours = model.scores(items)
        theirs = bare(path, known.prepare(items))
        error = float(np.abs(ours - theirs).max())
        top = [model.labels[i] for i in ours.argmax(1)] if len(contract.labels) > 100 else []
        rows[known.file] = {"items": len(items), "largest_difference": error, "equal": error < 1e-6, "top": top}
        print(f"{known.file}: largest difference {error:.2g} {top}", file=sys.stderr)
    return rows


def bare(path: Path, items: np.ndarray) -> np.ndarray:
    """The outputs for items as the file takes them, in real numbers, by a loop around the interpreter."""
    if path.suffix == ".onnx":
        session = onnxruntime.InferenceSession(str(path))
        name = session.get_inputs()[0].name
        return np.concatenate([session.run(None, {name: x[np.newaxis]})[0] for x in items])
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
    answers = []
    for x in items:
        interpreter.reset_all_variables()
        interpreter.set_tensor(source["index"], x[np.newaxis].astype(source["dtype"]))
        interpreter.invoke()
        answers.append(interpreter.get_tensor(sink["index"])[0].copy())
    scale, zero_point = sink["quantization"]
    found = np.stack(answers)
    return (found.astype(np.float32) - zero_point) * np.float32(scale) if scale else found


def resnet8(real: Path, folder: Path) -> dict[str, dict[str, float]]:
    """Share of images in the class of the published float file, by ours and by the published int8 file."""
    models = real / "models" / "mlperf_tiny"
    signs = open_data(real / "data" / "sign_digits" / "Dataset", input=InputSpec.image(32, 32, "rgb"))
    photos = real / "data" / "coral"
    # The net knows CIFAR-10, which is not at hand: calibrated on other crops of the same photos, and signs; 10 classes
    # are needed and mean nothing.
    x = np.concatenate([crops(photos, seed=1), signs.train.read(slice(0, 1000))])
    np.savez(folder / "mixed.npz", x=x, y=np.arange(len(x)) % 10)
    (variant,) = convert(
        models / "pretrainedResnet.h5",
        "tflite-int8",
        data=str(folder / "mixed.npz"),
        out=folder / "resnet8",
        samples=500,
    )
    assert variant.path is not None, variant.error
    ours, rows = load(variant.path), {}
    for name, x in (("signs", signs.test.read(slice(None))), ("crops", crops(photos, seed=0))):
        truth = load(models / "pretrainedResnet.tflite").scores(x.astype(np.float32)).argmax(1)
        theirs = load(models / "pretrainedResnet_quant.tflite").scores(x.astype(np.float32)).argmax(1)
        rows[name] = {
            "images": len(x),
            "ours": float((ours.scores(x).argmax(1) == truth).mean()),
            "published": float((theirs == truth).mean()),
        }
        print(f"ResNet8 int8, agreement with float on {name}: {rows[name]}", file=sys.stderr)
    return rows


def crops(folder: Path, *, seed: int) -> np.ndarray:
    """Random square crops of photos at 32x32, uint8."""
    rng, found = np.random.default_rng(seed), []
    for path in sorted(p for p in folder.iterdir() if p.suffix in (".jpg", ".bmp")):
        with Image.open(path) as image:
            photo = image.convert("RGB")
        for _ in range(CROPS):
            side = int(rng.integers(32, min(photo.size) + 1))
            left, top = (int(rng.integers(0, n - side + 1)) for n in photo.size)
            crop = photo.crop((left, top, left + side, top + side)).resize((32, 32), Image.Resampling.BILINEAR)
            found.append(np.asarray(crop))
    return np.stack(found)


def mnist(real: Path, folder: Path) -> dict[str, float]:
    """Accuracy on the 10,000 test digits."""
    model, data = real / "models" / "user_keras" / "gowtham_mnist_model.keras", str(real / "data" / "mnist")
    hints = Hints(input_range="0,1")
    variants = convert(model, "tflite-float32,tflite-int8,onnx-int8", data=data, out=folder / "m", hints=hints)
    accuracies = {v.scheme: float(evaluate(v.path, data=data)["accuracy"]) for v in variants if v.path is not None}
    digits, keras_model = open_data(data).test, load_keras(model)
    x = digits.read(slice(None)).astype(np.float32)
    for name, pixels in (("keras on 0-1", x / 255), ("keras on raw pixels", x)):
        predicted = keras_model.predict(pixels, verbose=0, batch_size=500).argmax(1)
        accuracies[name] = float((predicted == digits.y).mean())
    print(f"MNIST net of pixels 0-1, accuracy: {accuracies}", file=sys.stderr)
    return accuracies


if __name__ == "__main__":
    main()
