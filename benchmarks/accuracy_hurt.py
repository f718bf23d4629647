"""Nets that int8 with ranges of smallest and largest values hurts: their recipes, with seeds, and how they are trained.

What hurts is what people do: batch norm and ReLU without a cap, trained until every training item is right, on little
data, without augmentation or weight decay, at a large learning rate. Activations then have outliers that most items do
not reach, and many test items lie near a decision.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Hurt:
    """How such a net is made.

    Attributes:
        data: A data set of `accuracy_data`.
        body: "residual", "inverted" (a MobileNetV2 of few channels) or "separable".
        width: Channels of the first stage.
        blocks: Blocks of each stage; the second and later stages halve the height and width and double the channels.
        rate: Learning rate of the first step of SGD with momentum 0.9; a cosine decay follows.
        epochs: Passes over the training items.
        seed: Seed of the weights and of the order.
        cap: Upper end of ReLU; None for none.
    """

    data: str
    body: str
    width: int
    blocks: tuple[int, ...]
    rate: float
    epochs: int
    seed: int
    cap: float | None = None


BATCH = 64
RECIPES: dict[str, Hurt] = {
    "residual-a": Hurt("cifar", "residual", 12, (1, 1, 1), 0.2, 20, 1),
    "residual-b": Hurt("cifar", "residual", 12, (2, 2, 2), 0.3, 20, 2),
    "inverted-a": Hurt("cifar", "inverted", 8, (1, 2, 2), 0.2, 20, 3),
    "separable-a": Hurt("cifar", "separable", 16, (1, 2, 2), 0.3, 20, 4),
    "residual-m": Hurt("mnist-small", "residual", 8, (1, 1, 1), 0.3, 40, 5),
    "inverted-m": Hurt("mnist-small", "inverted", 8, (1, 1, 1), 0.3, 60, 6),
}


def train_hurt(recipe: Hurt, data: Path, target: Path) -> None:
    """Train a net and save it as `.keras`; imports TensorFlow."""
    import keras

    keras.utils.set_random_seed(recipe.seed)
    with np.load(data) as stored:
        x, y = stored["x_train"], stored["y_train"]
    model = build(recipe, x.shape[1:], int(y.max()) + 1)
    steps = -(-len(x) // BATCH) * recipe.epochs
    schedule = keras.optimizers.schedules.CosineDecay(recipe.rate, steps)
    model.compile(keras.optimizers.SGD(schedule, momentum=0.9), "sparse_categorical_crossentropy")
    model.fit(x.astype(np.float32), y, batch_size=BATCH, epochs=recipe.epochs, verbose=0)
    model.save(target)


def build(recipe: Hurt, shape: tuple[int, ...], classes: int) -> Any:
    """The Keras model with its first weights: raw pixels in, softmax out."""
    import keras
    from keras import layers

    def conv(x: Any, channels: int, kernel: int, stride: int = 1, *, act: bool = True) -> Any:
        x = layers.Conv2D(channels, kernel, stride, "same", use_bias=False)(x)
        return normed(x, act=act)

    def depthwise(x: Any, stride: int) -> Any:
        return normed(layers.DepthwiseConv2D(3, stride, "same", use_bias=False)(x), act=True)

    def normed(x: Any, *, act: bool) -> Any:
        x = layers.BatchNormalization(momentum=0.9)(x)
        return layers.ReLU(recipe.cap)(x) if act else x

    def block(x: Any, channels: int, stride: int) -> Any:
        before = x.shape[-1]
        if recipe.body == "separable":
            return conv(depthwise(x, stride), channels, 1)
        if recipe.body == "inverted":
            y = conv(depthwise(conv(x, 4 * before, 1), stride), channels, 1, act=False)
            return layers.Add()([x, y]) if stride == 1 and channels == before else y
        y = conv(conv(x, channels, 3, stride), channels, 3, act=False)
        skip = x if stride == 1 and channels == before else conv(x, channels, 1, stride, act=False)
        return layers.ReLU(recipe.cap)(layers.Add()([skip, y]))

    source = keras.Input(shape, name="image")
    x = conv(layers.Rescaling(1 / 127.5, -1)(source), recipe.width, 3, 1 if recipe.body == "residual" else 2)
    for stage, count in enumerate(recipe.blocks):
        for i in range(count):
            x = block(x, recipe.width << stage, 2 if stage and not i else 1)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(source, layers.Dense(classes, activation="softmax", name="predictions")(x), name=recipe.body)
