"""The nets of `proof_table.py`, each with items for calibration, for the proof, and for the truth.

Trained nets have labelled items: what a file is worth is then its accuracy. Published nets whose data are not at hand
are shown random crops of photos; nets with random weights are shown seeded images. Both are judged by agreement.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "shared"))

import zoo_models

from edgepress.converters.contract.hints import Hints
from edgepress.converters.proof.compare import seeded_items
from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.data import open_data
from edgepress.toolkit.training.loop import train

Array = npt.NDArray[Any]
CALIBRATION = 100
PROOF = 512
HELD_OUT = 300
"""Items for calibration, for the proof, and to judge a file by."""
TRAINED = {
    "lenet": ("mnist", 1),
    "ds-cnn": ("mnist", 1),
    "resnet8": ("signs", 6),
    "mobilenet-v2": ("signs", 12),
    "mobilenet-v3-small": ("signs", 12),
    "mobilenet-v1": ("signs", 12),
    "dense": ("digits", 20),
}
"""Architectures of edgepress: their data and epochs."""
SIGNS, SIDE = "data/sign_digits/Dataset", 48
"""Photos of sign language, and the height and width that they are given."""
PUBLISHED = {
    "mlperf_tiny/pretrainedResnet.h5": (None, "photos"),
    "mlperf_tiny/vww_96_float.tflite": ("0,1", "photos"),
    "tflite_support/mobilenet_v1_0.25_224_1_default_1.tflite": ("-1,1", "photos"),
    "face_classification/fer2013_mini_XCEPTION.119-0.65.hdf5": ("-1,1", "photos"),
    "mltk/image_example1.h5": ("-2,2", "photos"),
    "ai_edge_quantizer/conv_fc_mnist.tflite": ("0,1", "mnist"),
    "user_keras/gowtham_mnist_model.keras": ("0,1", "mnist"),
    "onnx/mnist-8.onnx": (None, "mnist"),
}
"""Files under real/models: the values that they take for pixels, and what they are shown."""
RANDOM = {"MobileNet": 32, "MobileNetV2": 32, "EfficientNetB0": 32, "ResNet50": 32, "MobileNetV3Small": 32}
"""Nets of keras.applications and the side of their images."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One net.

    Attributes:
        name: Its name in the table.
        path: Its file.
        hints: What `convert` would be given.
        show: Returns items of a kind: count, seed, and the input.
        labelled: Returns the held-out items and their labels; None if there are no labels.
        show_labels: Returns the labels of the items of `show`: count, seed; None if they are not known.
        repairs: Whether its files are repaired; both, if they are made with and without.
        faults: One fault in as many is put into each file.
    """

    name: str
    path: Path
    hints: Hints
    show: Callable[[InputSpec, int, int], Array]
    labelled: Callable[[InputSpec], tuple[Array, npt.NDArray[np.int64]]] | None = None
    show_labels: Callable[[int, int], npt.NDArray[np.int64]] | None = None
    repairs: tuple[bool, ...] = (True,)
    faults: int = 2


def names() -> list[str]:
    """The names of all nets."""
    return [f"{arch} {on}" for arch, (on, _) in TRAINED.items()] + [Path(p).stem for p in PUBLISHED] + [*RANDOM]


def subjects(cache: Path, real: Path, wanted: Collection[str] = ()) -> Iterator[Subject]:
    """Every net, or those of the names wanted, made and kept in `cache` where it is not there yet."""
    for arch, (on, epochs) in TRAINED.items():
        name, folder = f"{arch} {on}", cache / f"{arch}-{on}"
        if wanted and name not in wanted:
            continue
        source = {"mnist": str(real / "data" / "mnist"), "digits": "digits"}.get(on, str(real / SIGNS))
        if not (folder / "model.keras").exists():
            opened = open_data(source, size=SIDE if on == "signs" else None)
            train(opened, arch, out=folder, epochs=epochs, progress=False, overwrite=True)
        yield _of_data(name, folder / "model.keras", Hints(), source)
    for published, (pixels, on) in PUBLISHED.items():
        path = real / "models" / published
        if wanted and path.stem not in wanted:
            continue
        hints = Hints(input_range=pixels, color=None if on == "seeded" else _color(published))
        if on == "mnist":
            yield _of_data(path.stem, path, hints, str(real / "data" / "mnist"))
        else:
            show = _seeded if on == "seeded" else _crops(real / "data" / "coral")
            yield Subject(name=path.stem, path=path, hints=hints, show=show)
    for name, side in RANDOM.items():
        if wanted and name not in wanted:
            continue
        if not (path := cache / f"{name}.keras").exists():
            zoo_models.build(name, side, images=64).save(path)
        yield Subject(name=name, path=path, hints=Hints(task="logits"), show=_seeded)


def _color(name: str) -> Any:
    return "grey" if any(part in name for part in ("mnist", "XCEPTION", "image_example")) else "rgb"


def _seeded(spec: InputSpec, count: int, seed: int) -> Array:
    return seeded_items(spec, count, seed=1000 + seed)


def _of_data(name: str, path: Path, hints: Hints, source: str) -> Subject:
    def show(spec: InputSpec, count: int, seed: int) -> Array:
        split = open_data(source, input=spec).train
        return split.read(np.random.default_rng(seed).permutation(len(split))[:count])

    def labelled(spec: InputSpec) -> tuple[Array, npt.NDArray[np.int64]]:
        test = open_data(source, input=spec).test
        rows = np.random.default_rng(0).permutation(len(test))[: 2 * HELD_OUT]
        return test.read(rows), test.y[rows]

    return Subject(name=name, path=path, hints=hints, show=show, labelled=labelled)


def _crops(folder: Path) -> Callable[[InputSpec, int, int], Array]:
    """Random square crops of photos, of other parts for other seeds."""

    def show(spec: InputSpec, count: int, seed: int) -> Array:
        rng, found = np.random.default_rng(seed), []
        paths = sorted(p for p in folder.iterdir() if p.suffix in (".jpg", ".bmp"))
        for path in paths:
            with Image.open(path) as image:
                photo = image.convert("L" if spec.color == "grey" else "RGB")
            for _ in range(math.ceil(count / len(paths))):
                side = int(rng.integers(min(96, *photo.size), min(photo.size) + 1))
                left, top = (int(rng.integers(0, n - side + 1)) for n in photo.size)
                crop = photo.crop((left, top, left + side, top + side))
                found.append(np.asarray(crop.resize(spec.shape[1::-1], Image.Resampling.BILINEAR)))
        return np.stack(found).reshape(-1, *spec.shape)[rng.permutation(len(found))[:count]]

    return show
