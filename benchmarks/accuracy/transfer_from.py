"""Accuracy of `train --from`: a new classifier on the bodies of published files, beside the same nets begun otherwise.

    python benchmarks/accuracy/transfer_from.py DATA --real FOLDER --out FOLDER [--ways frozen,tuned,weights,nothing]
        [--only NAME,NAME] [--epochs N] [--seed 0]

DATA is a folder of class folders; the test items are edgepress' own. `--real` is the folder of real models and data,
see its README. The ways: "frozen" and "tuned" begin with the file, by its features alone and with fine-tuning;
"weights" and "weights-frozen" with the weights of the same body by `--weights`, where there are such; "nothing" with
random weights of the same architecture and size. The ONNX file is made here, channels first, of a Keras MobileNet with
ImageNet's weights. Each finished training is kept in the folder of `--out` and not repeated. Times are CPU seconds of
this process.
"""

from __future__ import annotations

import argparse
import json
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepress.converters.contract.hints import Hints
from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.data import open_data
from edgepress.toolkit.training.loop import train
from edgepress.toolkit.training.nets.architectures import build
from edgepress.toolkit.training.nets.base_net import open_base

WEIGHTS = "pretrained/mobilenet_v1_025_224_no_top.h5"
"""ImageNet's weights of MobileNetV1 of a quarter of the width, in the folder of models."""


@dataclass(frozen=True)
class Row:
    """A published file, and the architecture of edgepress that is the same net.

    Attributes:
        file: In the folder of models; "" for the ONNX file, which is made.
        arch: The architecture.
        size: Side of its images.
        weights: Whether there are weights of the same body.
        hints: How it takes pixels.
    """

    file: str
    arch: str
    size: int
    weights: bool = True
    hints: Hints | None = None


ROWS = {
    "float-v1": Row(
        "tflite_support/mobilenet_v1_0.25_224_1_default_1.tflite",
        "mobilenet-v1",
        224,
        hints=Hints(input_range="-1,1"),  # its metadata do not say so
    ),
    "uint8-v1": Row("coral/mobilenet_v1_0.25_128_quant.tflite", "mobilenet-v1", 128),
    "onnx": Row("", "mobilenet-v1", 128, hints=Hints(input_range="0,255")),
    "keras2": Row("mlperf_tiny/pretrainedResnet.h5", "resnet8", 32, weights=False),
}


def cpu_seconds() -> float:
    """CPU time of this process so far, and of its children that ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def write_onnx(weights: Path, path: Path, size: int) -> None:
    """An ONNX file that takes images with channels first, as PyTorch exports them, and has 1,000 classes."""
    import keras
    import tensorflow as tf
    import tf2onnx

    net = build("mobilenet-v1", InputSpec.image(size, size, "rgb"), classes=1000, weights=weights)
    first = keras.Input((3, size, size), batch_size=1)
    turned = keras.Model(first, net(keras.layers.Permute((2, 3, 1))(first)))
    signature = [tf.TensorSpec((1, 3, size, size), tf.float32, name="image")]
    function = tf.function(lambda x: turned(x, training=False), input_signature=signature)
    tf2onnx.convert.from_function(function, input_signature=signature, opset=17, output_path=str(path))


def train_one(row: Row, way: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one training, from its folder if it is there."""
    file = folder / "transfer.json"
    if file.exists():
        return dict(json.loads(file.read_text()))
    started = cpu_seconds()
    models = options.real / "models"
    how: dict[str, Any] = {"freeze": way.endswith("frozen"), "seed": options.seed, "resume": True, "progress": False}
    how |= {"epochs": options.epochs} if way in ("tuned", "weights") else {}
    how["out"] = folder
    if way in ("frozen", "tuned"):
        path = models / row.file if row.file else options.out / "made.onnx"
        if not row.file and not path.exists():
            write_onnx(models / WEIGHTS, path, row.size)
        base = open_base(path, hints=row.hints)
        data = open_data(options.data, input=base.input, skip_unreadable=True)
        result = train(data, base=base, **how)
    else:
        data = open_data(options.data, size=row.size, skip_unreadable=True)
        weights = "none" if way == "nothing" else models / WEIGHTS
        result = train(data, row.arch, weights=weights, **how)
    figures = {"accuracy": result.metrics["accuracy"], "val": result.metrics["val"]["accuracy"]}
    figures |= {"items": len(data.test), "cpu_seconds": cpu_seconds() - started}
    file.write_text(json.dumps(figures))
    return figures


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ways", default="frozen,tuned,weights-frozen,weights,nothing")
    parser.add_argument("--only", default=",".join(ROWS))
    parser.add_argument("--epochs", type=int, help="None: as train chooses")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.only.split(","):
        for way in options.ways.split(","):
            row = ROWS[name]
            if row.weights or not way.startswith("weights"):
                figures = train_one(row, way, options.out / f"{name}-{way}-{options.seed}", options)
                shares = f"test {100 * figures['accuracy']:.2f} %, validation {100 * figures['val']:.2f} %"
                print(f"{name:10} {way:14} {shares}, {figures['cpu_seconds']:.0f} CPU s", flush=True)


if __name__ == "__main__":
    main()
