"""Nets that int8 with ranges of smallest and largest values hurts: their recipes, with seeds, and how they are trained.

What hurts is what people do: a deep stack of few channels with batch norm and ReLU without a cap, trained until every
training item is right, on little data, without augmentation or weight decay, at a large learning rate. Channels then
have very different ranges, and many test items lie near a decision. Residual nets lost nothing beyond the interval by
the same treatment (on CIFAR-10 and on MNIST), and neither did shallower stacks; seeds differ much.
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
        width: Channels of the first stage.
        blocks: Blocks of each stage; the second and later stages halve the height and width and double the channels.
        rate: Learning rate of the first step of SGD with momentum 0.9; a cosine decay follows.
        epochs: Passes over the training items.
        seed: Seed of the weights and of the order.
    """

    data: str
    width: int
    blocks: tuple[int, ...]
    rate: float
    epochs: int
    seed: int


BATCH = 64
RECIPES: dict[str, Hurt] = {
    "separable-a": Hurt("mnist-small", 8, (2, 3, 3), 0.5, 60, 1),
    "separable-b": Hurt("mnist-small", 8, (3, 5, 5), 0.5, 80, 1),
    "separable-c": Hurt("mnist-small", 8, (3, 5, 5), 0.4, 60, 22),
    "separable-d": Hurt("mnist", 8, (3, 5, 5), 0.5, 3, 42),
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

    def normed(x: Any) -> Any:
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))

    source = keras.Input(shape, name="image")
    x = layers.Rescaling(1 / 127.5, -1)(source)
    x = normed(layers.Conv2D(recipe.width, 3, 2, "same", use_bias=False)(x))
    for stage, count in enumerate(recipe.blocks):
        for i in range(count):
            stride = 2 if stage and not i else 1
            x = normed(layers.DepthwiseConv2D(3, stride, "same", use_bias=False)(x))
            x = normed(layers.Conv2D(recipe.width << stage, 1, use_bias=False)(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(source, layers.Dense(classes, activation="softmax", name="predictions")(x), name="separable")
