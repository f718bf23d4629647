"""Our files of models that others published, against their own quantized files.

    python benchmarks/published_models.py --real FOLDER     # the folder of real models and data, see its README

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
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from PIL import Image

from edgepress.converters.sources.keras import load_keras
from edgepress.runtime import InputSpec, load
from edgepress.toolkit.conversion import Hints, convert
from edgepress.toolkit.data import open_data
from edgepress.toolkit.evaluation import evaluate
from edgepress.toolkit.host.describe import describe_host

CROPS = 200


def main() -> None:
    """Convert, compare, print one JSON document; exit with 1 if ours agrees less than the published file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, required=True)
    real = parser.parse_args().real
    with tempfile.TemporaryDirectory() as folder:
        result = {"host": describe_host(), "resnet8": resnet8(real, Path(folder)), "mnist": mnist(real, Path(folder))}
    print(json.dumps(result))
    sys.exit(any(row["ours"] < row["published"] for row in result["resnet8"].values()))


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
        calibration_images=500,
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
