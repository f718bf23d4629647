"""Files to time, made with the project's own tools from seeded weights: what they answer does not matter here.

    python benchmarks/speed/timing_models.py FOLDER

`chain-20` and `chain-21` are nets of 20 and 21 equal convolutions: the second is 5 % more work, less what a net costs
beside its layers. Files that are in the folder already are not made again.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

LAYERS, MORE, CHANNELS, SIDE, CLASSES = 20, 21, 16, 28, 10
SEED = 0


def files_in(folder: Path) -> dict[str, Path]:
    """The files by their names; made in a process of its own, so that TensorFlow is not in the one that times."""
    names = ("lenet.tflite", "lenet.onnx", "mobilenet.tflite", "mobilenet.onnx", "chain-20.tflite", "chain-21.tflite")
    paths = {name: folder / name for name in names}
    if not all(path.exists() for path in paths.values()):
        folder.mkdir(parents=True, exist_ok=True)
        quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        made = subprocess.run([sys.executable, __file__, str(folder)], env=quiet, stderr=subprocess.PIPE, text=True)
        if made.returncode:
            sys.exit(f"The files to time could not be made. {made.stderr[-2000:]}")
    return paths


def main(folder: Path) -> None:
    """Make the files."""
    import keras

    from edgepress.toolkit.training.nets.architectures import build

    keras.utils.set_random_seed(SEED)
    grey, rgb = (SIDE, SIDE, "grey"), (96, 96, "rgb")
    _convert(build("lenet", _input(grey), classes=CLASSES), "lenet", grey, folder)
    _convert(build("mobilenet-v2", _input(rgb), classes=CLASSES), "mobilenet", rgb, folder)
    for layers in (LAYERS, MORE):
        _convert(_chain(layers), f"chain-{layers}", grey, folder, formats=["tflite"])


def _chain(layers: int) -> Any:
    import keras

    source = keras.Input((SIDE, SIDE, 1))
    x = keras.layers.Rescaling(1 / 255)(source)
    for _ in range(1 + layers):  # weights that keep signals alive: what vanishes can't be told from rounding
        x = keras.layers.Conv2D(CHANNELS, 3, padding="same", activation="relu", kernel_initializer="he_normal")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(source, keras.layers.Dense(CLASSES, activation="softmax")(x))


def _input(shape: tuple[int, int, Any]) -> Any:
    from edgepress.runtime import InputSpec

    return InputSpec.image(*shape)


def _convert(
    model: Any, name: str, shape: tuple[int, int, Any], folder: Path, formats: Sequence[str] = ("tflite", "onnx")
) -> None:
    from edgepress.converters.conversion.conversion import Conversion
    from edgepress.runtime import Contract

    labels = tuple(map(str, range(CLASSES)))
    contract = Contract(task="softmax", labels=labels, input=_input(shape), scheme="keras")
    path = folder / f"{name}.keras"
    model.save(path)
    images = np.random.default_rng(SEED).integers(0, 256, (10, *contract.input.shape), dtype=np.uint8)
    schemes = [f"{kind}-float32" for kind in formats]
    with Conversion(path) as conversion:
        made = conversion.run(schemes, contract, calibration=partial(list, [images]), out=folder, stem=name)
    for variant in made:
        assert variant.path, variant.error
        variant.path.rename(folder / f"{name}{variant.path.suffix}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
