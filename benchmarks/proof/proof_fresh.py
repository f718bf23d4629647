"""Small nets for `proof_table.py --fresh`: drawn by a seed, of the kinds on which verification went wrong before.

Each is trained for seconds on coloured digits of MNIST, so that its accuracy is known from thousands of items. Then it
is made hard: constants are scaled so that the float answers stay the same, but not those of a quantized file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from proof_models import Subject

from edgepress.converters.contract.hints import Hints
from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.data.readers.idx import read_idx

Array = npt.NDArray[Any]
TRAIN = 5000
"""Items that a net is trained on."""
SHOWN = 1300
"""Items for calibration and verification."""
TEST = 3000
"""Items that decide whether a file is wrong."""
SIDE = 28
CLASSES = 10
KINDS = ("plain", "layout", "tanh", "sigmoid", "softmax", "ties", "concat", "dense", "swish", "other", "bgr", "binary")


def subjects(cache: Path, real: Path, seeds: Sequence[int], wanted: Sequence[str] = ()) -> Iterator[Subject]:
    """A net of each kind for each seed, made and kept in `cache` where it is not there yet."""
    for name in names(seeds):
        if not wanted or name in wanted:
            yield _subject(name, cache, real)


def names(seeds: Sequence[int]) -> list[str]:
    """The names of all nets."""
    return [f"{kind} {seed}" for seed in seeds for kind in KINDS]


def _subject(name: str, cache: Path, real: Path) -> Subject:
    kind, _, seed = name.partition(" ")
    rng = np.random.default_rng([KINDS.index(kind), int(seed)])
    x, y = _digits(real / "data" / "mnist", "train", TRAIN, rng)
    others, labels = _digits(real / "data" / "mnist", "t10k", SHOWN + TEST, rng)
    if kind == "binary":
        positive = int(rng.integers(CLASSES))
        y, labels = (np.asarray(each == positive, np.int64) for each in (y, labels))
    path = cache / f"fresh-{kind}-{seed}.keras"
    hints = Hints(color="bgr", mean=MEANS) if kind == "bgr" else Hints(color="rgb")
    if kind == "sigmoid":
        hints = Hints(color="rgb", task="softmax")
    if not path.exists():
        _net(kind, rng, _values(x, kind), y).save(path)
    shown, known = others[:SHOWN], labels[:SHOWN]
    if kind == "other":
        shown, known = _other(x, y, np.random.default_rng(int(seed)))

    def show(spec: InputSpec, count: int, seed: int) -> Array:
        return shown[400 * seed : 400 * seed + count].astype(spec.dtype)

    def show_labels(count: int, seed: int) -> npt.NDArray[np.int64]:
        return np.asarray(known[400 * seed : 400 * seed + count])

    return Subject(
        name=name,
        path=path,
        hints=hints,
        show=show,
        labelled=lambda spec: (others[SHOWN:].astype(spec.dtype), labels[SHOWN:]),
        show_labels=show_labels,
        repairs=(True, False),
        faults=6,
    )


MEANS = (103.94, 116.78, 123.68)


def _values(x: Array, kind: str) -> Array:
    """The values that the net takes."""
    return x[..., ::-1] - np.float32(MEANS) if kind == "bgr" else x.astype(np.float32)


def _digits(folder: Path, split: str, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Digits in a random colour before a random colour, with noise, uint8 (count, SIDE, SIDE, 3), and their labels."""
    images, labels = (read_idx(folder / f"{split}-{what}-ubyte.gz") for what in ("images-idx3", "labels-idx1"))
    rows = rng.permutation(len(images))[:count]
    ink = images[rows].astype(np.float32)[..., None] / 255
    front, ground = rng.uniform(120, 255, (count, 1, 1, 3)), rng.uniform(0, 110, (count, 1, 1, 3))
    noise = rng.normal(0, NOISE, (count, SIDE, SIDE, 3))
    return np.clip(ink * front + (1 - ink) * ground + noise, 0, 255).astype(np.uint8), labels[rows].astype(np.int64)


NOISE = 40
"""Standard deviation of the pixels' noise."""


def _other(x: Array, y: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Items that are not like those of the test: three classes only, darker, inverted or blurred; and their labels."""
    how = ("classes", "darker", "inverted", "soft")[int(rng.integers(4))]
    if how == "classes":
        rows = np.isin(y, rng.permutation(CLASSES)[:3])
        return x[rows], y[rows]
    if how == "darker":
        return (x * 0.7).astype(np.uint8), y
    if how == "inverted":
        return 255 - x, y
    return ((x.astype(np.float32) + np.roll(x, 1, 1) + np.roll(x, 1, 2)) / 3).astype(np.uint8), y


def _net(kind: str, rng: np.random.Generator, x: Array, y: Array) -> Any:
    import keras

    keras.utils.set_random_seed(int(rng.integers(2**31)))
    outputs = 1 if kind == "binary" else CLASSES
    inputs, logits = _layers(kind, rng, outputs)
    net = keras.Model(inputs, logits)
    loss: Any = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    if kind == "binary":
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
    net.compile(keras.optimizers.Adam(3e-3), loss)
    net.fit(x, y, batch_size=64, epochs=int(rng.integers(2, 5)), verbose=0)
    _unbalance(net, kind, rng)
    if kind == "layout":
        net = _channels_first(net)
    return keras.Model(net.input, _end(kind, rng, keras)(net.output))


def _layers(kind: str, rng: np.random.Generator, outputs: int) -> tuple[Any, Any]:
    from keras import layers

    activation = str(rng.choice(["swish", "hard_swish"])) if kind == "swish" else "relu"
    width = int(rng.integers(8, 17))
    inputs = layers.Input((SIDE, SIDE, 3))
    scaled = layers.Rescaling(1 / 255 if kind != "bgr" else 1 / 128)(inputs)
    x = layers.Conv2D(width, 5, strides=2, padding="same", activation=activation, name="first")(scaled)
    if kind == "concat":
        small = layers.Conv2D(width, 3, padding="same", activation=activation, name="small")(x)
        large = layers.Conv2D(width, 3, padding="same", activation=activation, name="large")(x)
        x = layers.Concatenate()([small, large])
    x = layers.Conv2D(2 * width, 3, strides=2, padding="same", activation=activation, name="second")(x)
    if kind in ("plain", "bgr", "swish") and rng.random() < 0.5:
        x = layers.DepthwiseConv2D(3, padding="same", activation=activation)(x)
    if kind == "layout":
        x = layers.Conv2D(2 * width, 3, strides=2, padding="same", activation=activation, name="third")(x)
        x = layers.GlobalAveragePooling2D()(x)
    else:
        x = layers.Dense(32, activation=activation, name="hidden")(layers.Flatten()(x))
    return inputs, layers.Dense(outputs, name="logits")(x)


def _unbalance(net: Any, kind: str, rng: np.random.Generator) -> None:
    """Scale channels, or a branch, up and their readers down, which no float answer shows."""
    if kind == "concat":
        factor = float(rng.uniform(20, 300))
        small, second = net.get_layer("small"), net.get_layer("second")
        small.set_weights([w / factor for w in small.get_weights()])
        kernel, bias = second.get_weights()
        kernel[:, :, : small.filters] *= factor
        second.set_weights([kernel, bias])
    if kind == "dense":
        _scale(net.get_layer("hidden"), net.get_layer("logits"), 2.0 ** rng.uniform(-6, 6, 32))
    if kind in ("layout", "other") and rng.random() < 0.7:
        first, second = net.get_layer("first"), net.get_layer("second")
        _scale(first, second, 2.0 ** rng.uniform(-4, 4, first.filters))


def _scale(layer: Any, reader: Any, factors: Array) -> None:
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel * factors, bias * factors])
    kernel, bias = reader.get_weights()
    reader.set_weights([kernel / factors[:, None], bias])


def _channels_first(net: Any) -> Any:
    """The same net, computed channels first."""
    import keras
    from keras import layers

    inputs = layers.Input((SIDE, SIDE, 3))
    x: Any = layers.Permute((3, 1, 2))(inputs)
    for old in net.layers[1:]:
        config = old.get_config()
        if "data_format" in config:
            config["data_format"] = "channels_first"
        x = type(old).from_config(config)(x)
    copy = keras.Model(inputs, x)
    for old, new in zip(net.layers[1:], copy.layers[2:], strict=True):
        new.set_weights(old.get_weights())
    return copy


def _end(kind: str, rng: np.random.Generator, keras: Any) -> Callable[[Any], Any]:
    layers = keras.layers
    scale = 2.0 ** rng.uniform(-3, 3)
    if kind in ("tanh", "sigmoid", "softmax"):
        scale = 4 * scale if kind == "softmax" else scale / 2
        return lambda x: layers.Activation(kind)(layers.Rescaling(scale)(x))
    if kind == "ties":
        scale = 10.0 ** rng.uniform(-3, -1)
        return lambda x: layers.Activation("softmax")(layers.Rescaling(scale)(x))
    if kind == "binary":
        return layers.Activation("sigmoid")
    return layers.Activation(str(rng.choice(["softmax", "linear"])))


__all__ = ["KINDS", "names", "subjects"]
