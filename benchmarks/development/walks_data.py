"""Data sets for `walks.py`, one function a kind, each drawn from a seed alone."""

from __future__ import annotations

import random
import subprocess
import sys
import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

WORDS = ("cat", "ripe apple", "Käfer", "no_part", "ok", "N/A", "7", "left-hand", "[unknown]", "été", "a b c", "x.y")
"""Names of classes; some hold what file names, markup and shells read in their own way."""
SUFFIXES = (".png", ".jpg", ".bmp", ".webp")
"""What the names of pictures end in."""
RATE = 16_000
"""Samples of a second of the recordings."""
TWO_INPUTS = """
import os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
import numpy as np
keras.utils.set_random_seed(1)
with np.load("parts.npz") as parts:
    photo, values, y = parts["photo"], parts["values"], parts["y"]
first, second = keras.Input((24, 24, 3), name="photo"), keras.Input((6,), name="values")
x = keras.layers.Rescaling(1 / 255)(first)
x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(x)
x = keras.layers.GlobalAveragePooling2D()(x)
x = keras.layers.Dense(16, activation="relu")(keras.layers.Concatenate()([x, second]))
model = keras.Model([first, second], keras.layers.Dense(4, activation="softmax")(x))
model.compile("adam", "sparse_categorical_crossentropy")
model.fit({"photo": photo.astype("float32"), "values": values}, y, epochs=30, verbose=0)
os.makedirs("runs/a", exist_ok=True)
model.save("runs/a/model.keras")
"""
"""A user's own script: a net of two inputs, which `train` does not make."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A data set, and how a user trains on it.

    Attributes:
        data: What `--data` names.
        item: A file that `predict` classifies; empty if items are not files.
        train: Further words of `train`; None if the model was made elsewhere.
        convert: Further words of `convert`.
        one_label: Whether an item has one label, which `calibrate` needs.
        one_input: Whether the model has one input, which `diagnose` needs.
    """

    data: str
    item: str = ""
    train: Sequence[str] | None = ()
    convert: Sequence[str] = ()
    one_label: bool = True
    one_input: bool = True


def grey_digits(folder: Path, rng: random.Random) -> Drawn:
    """Grey pictures of 28x28, as of MNIST."""
    item = _pictures(folder / "grey", rng, [rng.randint(60, 90) for _ in range(4)], side=(28, 28), mode="L")
    return Drawn(data="grey", item=item, train=["--arch", "lenet", "--epochs", "15"])


def mixed_photos(folder: Path, rng: random.Random) -> Drawn:
    """Colour pictures of many sizes."""
    item = _pictures(folder / "photos", rng, [rng.randint(40, 90) for _ in range(5)], side=(40, 160))
    arch = rng.choice(("ds-cnn", "resnet8", "mobilenet-v2"))
    return Drawn(data="photos", item=item, train=["--arch", arch, "--size", "32", "--epochs", "15"])


def sensor_windows(folder: Path, rng: random.Random) -> Drawn:
    """Rows of three channels by four people, whose movement differs by its frequency."""
    noise = np.random.default_rng(rng.randint(0, 10**6))
    lines = ["time,acc_x,acc_y,acc_z,subject,activity"]
    for subject in ("anna", "ben", "carla", "dan", "eva"):
        for number, activity in enumerate(("walk", "run", "sit", "go upstairs")):
            time = np.arange(900) / 50
            waves = np.sin(2 * np.pi * (0.6 + 1.1 * number) * time[:, None] + np.arange(3)) * (number != 2)
            rows = waves * noise.uniform(0.8, 1.2) + noise.normal(0, 0.3, (900, 3))
            lines += [
                f"{t:.2f},{','.join(f'{v:.3f}' for v in row)},{subject},{activity}"
                for t, row in zip(time, rows, strict=True)
            ]
    (folder / "recordings.csv").write_text("\n".join(lines) + "\n")
    return Drawn(data="recordings.csv", train=["--window", "64", "--epochs", "10"])


def vectors(folder: Path, rng: random.Random) -> Drawn:
    """Twelve numbers an item, some of which lie far apart."""
    noise = np.random.default_rng(rng.randint(0, 10**6))
    y = noise.integers(0, 3, 700)
    centres = noise.normal(0, 1, (3, 12))
    x = (centres[y] + noise.normal(0, 0.7, (700, 12))) * np.logspace(-1, 2, 12)
    np.savez(folder / "parts.npz", x=x.astype(np.float32), y=y, labels=["good", "scratched", "bent"])
    return Drawn(data="parts.npz", train=["--epochs", "15"])


def many_labels(folder: Path, rng: random.Random) -> Drawn:
    """Pictures with any number of shapes, and a row of labels for each."""
    noise = np.random.default_rng(rng.randint(0, 10**6))
    y = (noise.random((500, 3)) < 0.4).astype(np.int64)
    x = np.stack([_with_shapes(row, rng, noise) for row in y])
    np.savez(folder / "scenes.npz", x=x, y=y, labels=["disc", "square", "cross"])
    return Drawn(data="scenes.npz", train=["--arch", "ds-cnn", "--epochs", "15"], one_label=False)


def two_inputs(folder: Path, rng: random.Random) -> Drawn:
    """A picture and six numbers an item; the model is a script's."""
    noise = np.random.default_rng(rng.randint(0, 10**6))
    y = noise.integers(0, 4, 500)
    photo = noise.integers(0, 90, (500, 24, 24, 3)) + 100 * (y % 2)[:, None, None, None]
    values = noise.normal(0, 0.5, (500, 6)) + (y // 2)[:, None]
    np.savez(folder / "parts.npz", photo=photo.astype(np.uint8), values=values.astype(np.float32), y=y)
    subprocess.run([sys.executable, "-c", TWO_INPUTS], cwd=folder, check=True, capture_output=True)
    return Drawn(data="parts.npz", train=None, convert=["--data", "parts.npz"], one_input=False)


def sounds(folder: Path, rng: random.Random) -> Drawn:
    """Recordings of rising, falling and steady tones, and of noise."""
    noise = np.random.default_rng(rng.randint(0, 10**6))
    for name, first, last in (
        ("rising", 400, 2500),
        ("falling", 2500, 400),
        ("steady", 900, 900),
        ("background", 0, 0),
    ):
        (folder / "sounds" / name).mkdir(parents=True)
        for number in range(36):
            pitch = np.linspace(first, last, RATE) * noise.uniform(0.8, 1.25)
            tone = np.sin(2 * np.pi * np.cumsum(pitch) / RATE) * 0.3 * (first > 0)
            samples = tone + noise.normal(0, noise.uniform(0.005, 0.05), RATE)
            with wave.open(str(folder / "sounds" / name / f"p{number % 6}_{number}.wav"), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(RATE)
                file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return Drawn(data="sounds", train=["--epochs", "8"])


def imbalanced(folder: Path, rng: random.Random) -> Drawn:
    """Classes of very different numbers of pictures."""
    item = _pictures(folder / "parts", rng, [260, 45, 14, 9], side=(32, 48))
    return Drawn(data="parts", item=item, train=["--arch", "lenet", "--size", "32", "--epochs", "12"])


def two_classes(folder: Path, rng: random.Random) -> Drawn:
    """Good and bad."""
    item = _pictures(folder / "check", rng, [80, 70], side=(64, 64))
    return Drawn(data="check", item=item, train=["--arch", "ds-cnn", "--size", "32", "--epochs", "15"])


def many_classes(folder: Path, rng: random.Random) -> Drawn:
    """Sixty classes of eight vectors."""
    noise = np.random.default_rng(rng.randint(0, 10**6))
    y = np.repeat(np.arange(60), 8)
    x = noise.normal(0, 1, (60, 24))[y] + noise.normal(0, 0.35, (480, 24))
    np.savez(folder / "plants.npz", x=x.astype(np.float32), y=np.array([f"plant {n:02}" for n in y]))
    return Drawn(data="plants.npz", train=["--epochs", "40"])


KINDS: Sequence[Callable[[Path, random.Random], Drawn]] = (
    grey_digits,
    mixed_photos,
    sensor_windows,
    vectors,
    many_labels,
    two_inputs,
    sounds,
    imbalanced,
    two_classes,
    many_classes,
)
"""The kinds of data, taken in turn."""


def _pictures(
    folder: Path, rng: random.Random, counts: Sequence[int], *, side: tuple[int, int], mode: str = "RGB"
) -> str:
    """A folder of pictures for each class, which differ by shape; the path of one of them."""
    names = rng.sample([word for word in WORDS if "/" not in word], len(counts))
    noise = np.random.default_rng(rng.randint(0, 10**6))
    for number, (name, count) in enumerate(zip(names, counts, strict=True)):
        (folder / name).mkdir(parents=True)
        for item in range(count):
            image = picture(number, rng.randint(*side), rng, noise).convert(mode)
            image.save(folder / name / f"IMG {item:03}{rng.choice(SUFFIXES)}")
    return str(next(iter(sorted(folder.glob("*/*")))).relative_to(folder.parent))


def _with_shapes(present: np.ndarray[Any, Any], rng: random.Random, noise: np.random.Generator) -> np.ndarray[Any, Any]:
    """A picture of 28x28 with the shapes that are present, each in its colour."""
    image = Image.fromarray(noise.integers(0, 90, (28, 28, 3), np.uint8))
    draw = ImageDraw.Draw(image)
    for kind in np.flatnonzero(present):
        x, y = (rng.randint(5, 22) for _ in range(2))
        box = (x - 5, y - 5, x + 5, y + 5)
        if kind == 0:
            draw.ellipse(box, fill=(220, 60, 60))
        elif kind == 1:
            draw.rectangle(box, outline=(60, 220, 60), width=2)
        else:
            draw.line((x - 5, y, x + 5, y), fill=(90, 90, 255), width=2)
            draw.line((x, y - 5, x, y + 5), fill=(90, 90, 255), width=2)
    return np.asarray(image)


def picture(kind: int, size: int, rng: random.Random, noise: np.random.Generator) -> Image.Image:
    """One picture of a class: its shape at any place, on a noisy ground."""
    ground = noise.integers(0, 90, (size, size, 3), np.uint8)
    image = Image.fromarray(ground)
    draw = ImageDraw.Draw(image)
    radius = size // 4 + rng.randint(0, size // 8)
    x, y = (rng.randint(radius, size - radius) for _ in range(2))
    box = (x - radius, y - radius, x + radius, y + radius)
    color = tuple(rng.randint(120, 255) for _ in range(3))
    shapes: tuple[Any, ...] = (
        lambda: draw.ellipse(box, fill=color),
        lambda: draw.rectangle(box, fill=color),
        lambda: draw.polygon([(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)], fill=color),
        lambda: draw.line(box, fill=color, width=max(2, size // 10)),
        lambda: draw.ellipse(box, outline=color, width=max(2, size // 12)),
        lambda: draw.rectangle(box, outline=color, width=max(2, size // 12)),
    )
    shapes[kind]()
    return image
