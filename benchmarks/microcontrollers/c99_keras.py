"""Which small Keras nets export to C, after `convert --target integer-only`, and which operation stops the others.

    python benchmarks/microcontrollers/c99_keras.py [NET...]

Weights and calibration items are random: what is asked is whether the operations are there. Prints a row a net, and
the count. Minutes.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.converters.to_c.lowering import lower
from edgepress.runtime.errors import ModelFileError

IMAGE = (16, 16, 3)
SERIES = (16, 6)
ITEMS = 32
"""Calibration items."""


def nets(layers: Any) -> dict[str, tuple[tuple[int, ...], list[Callable[[Any], Any]]]]:
    """By name, the shape of an item and what is applied in turn, before a dense classifier."""

    def beside(join: Any, *branches: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda x: join([branch(x) for branch in branches])

    def same(x: Any) -> Any:
        return x

    def conv(filters: int = 8, kernel: int = 3, **options: Any) -> Any:
        return layers.Conv2D(filters, kernel, padding="same", **options)

    def attended(x: Any) -> Any:
        return layers.MultiHeadAttention(2, 8)(x, x)

    def excited(x: Any) -> Any:
        pooled = layers.GlobalAveragePooling2D(keepdims=True)(x)
        return layers.Multiply()([x, layers.Dense(8, "sigmoid")(layers.Dense(4, "relu")(pooled))])

    return {
        "dense": (SERIES, [layers.Flatten(), layers.Dense(16, "relu")]),
        "convolutions": (IMAGE, [conv(activation="relu"), layers.MaxPooling2D(), conv(), layers.BatchNormalization()]),
        "separable": (IMAGE, [conv(), layers.DepthwiseConv2D(3, padding="same"), layers.ReLU(6), conv(16, 1)]),
        "residual": (IMAGE, [conv(), beside(layers.Add(), same, conv()), layers.ReLU()]),
        "concatenated": (
            IMAGE,
            [beside(layers.Concatenate(), conv(4), conv(4, 1), layers.AveragePooling2D(3, 1, "same"))],
        ),
        "squeezed": (IMAGE, [conv(), excited]),
        "leaky": (IMAGE, [conv(), layers.LeakyReLU(), conv(), layers.PReLU(shared_axes=[1, 2])]),
        "elu": (IMAGE, [conv(activation="elu"), conv(activation="selu")]),
        "swish": (IMAGE, [conv(activation="swish"), conv(activation="hard_swish")]),
        "gelu": (IMAGE, [conv(activation="gelu"), conv(activation="tanh")]),
        "softplus": (IMAGE, [conv(activation="softplus"), conv(activation="mish")]),
        "dilated": (IMAGE, [conv(dilation_rate=2), conv(activation="relu")]),
        "grouped": (IMAGE, [conv(), conv(groups=4, activation="relu")]),
        "decoder": (IMAGE, [conv(strides=2), layers.Conv2DTranspose(8, 3, strides=2, padding="same"), conv()]),
        "resized": (IMAGE, [conv(), layers.UpSampling2D(), layers.UpSampling2D(interpolation="bilinear"), conv(4)]),
        "maximum": (IMAGE, [conv(), layers.GlobalMaxPooling2D()]),
        "cropped": (IMAGE, [layers.ZeroPadding2D(2), conv(), layers.Cropping2D(3), layers.Permute((2, 1, 3))]),
        "normalized": (SERIES, [layers.Dense(8), layers.LayerNormalization(), layers.Dense(8, "relu")]),
        "attention": (SERIES, [layers.Dense(8), attended]),
        "lstm": (SERIES, [layers.LSTM(8)]),
        "gru": (SERIES, [layers.GRU(8)]),
    }


def refusal(name: str, folder: Path) -> str:
    """Why a net does not export; "" if it does."""
    import keras

    from edgepress import toolkit

    shape, applied = nets(keras.layers)[name]
    keras.utils.set_random_seed(0)
    source = made = keras.Input(shape)
    for layer in applied:
        made = layer(made)
    made = made if len(made.shape) == 2 else keras.layers.Flatten()(made)
    model = keras.Model(source, keras.layers.Dense(4, activation="softmax")(made))
    chance = np.random.default_rng(0)
    items = chance.normal(size=(ITEMS, *shape)).astype(np.float32)
    labels = np.arange(ITEMS) % 4
    (variant,) = toolkit.convert(
        model, data=(items, labels), to="tflite-int8", target="integer-only", out=folder / name, verify=False
    )
    if variant.path is None:
        return f"not converted: {variant.error}"
    try:
        lower(Path(variant.path))
    except ModelFileError as e:
        return e.message.partition(": ")[2]
    return ""


def main() -> None:
    """Print a row a net."""
    import keras

    names = sys.argv[1:] or [*nets(keras.layers)]
    print("| net | exports | why not |\n|---|---|---|")
    exported = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            why = refusal(name, Path(folder))
            exported += not why
            print(f"| {name} | {'no' if why else 'yes'} | {why} |", flush=True)
    print(f"\n{exported} of {len(names)} nets export.")


if __name__ == "__main__":
    main()
