"""The data sets known by name: `digits`, which is inside scikit-learn, and four that keras.datasets fetches once.

Limits: the four are held in memory, and their first use needs a network; keras keeps them in `~/.keras/datasets`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys

import numpy as np

from edgepress.toolkit.data.items import Items, Wish, array_items
from edgepress.toolkit.errors import DataError, MissingExtraError

_TEN = tuple("0123456789")

_CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""

KERAS_LABELS = {
    "mnist": _TEN,
    "fashion_mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    "cifar100": tuple(_CIFAR100.split()),
}
"""Class names by data set, in the order of the numbers that keras.datasets gives."""
NAMES = ("digits", *KERAS_LABELS)


def read_builtin(name: str, wish: Wish) -> Items:
    """A data set by its name, one of `NAMES`.

    Raises:
        DataError: It is not on this machine and can't be fetched.
        MissingExtraError: The package that brings it is not installed.
    """
    return _digits(wish) if name == "digits" else _from_keras(name, wish)


def _digits(wish: Wish) -> Items:
    """1,797 handwritten digits of 8x8 pixels (UCI, Alpaydin & Kaynak 1998), brought to 28x28."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as e:
        raise MissingExtraError("The data set 'digits'", "scikit-learn", "toolkit") from e
    digits = load_digits()
    x = np.round(digits.images * (255 / 16)).astype(np.uint8)
    wish = dataclasses.replace(wish, size=wish.size or (28, 28))
    return array_items({"train": (x, digits.target)}, labels=_TEN, wish=wish)


def _from_keras(name: str, wish: Wish) -> Items:
    try:
        import keras
    except ImportError as e:
        raise MissingExtraError(f"The data set {name!r}", "keras", "toolkit") from e
    try:
        with contextlib.redirect_stdout(sys.stderr):  # keras draws its progress on stdout, which is for results
            train, test = getattr(keras.datasets, name).load_data()
    except Exception as e:  # keras raises a bare Exception where it can't fetch
        raise DataError(
            f"The data set {name!r} is not on this machine and could not be fetched: {e}.",
            "Connect once, or give a folder of images, a folder of IDX files or an .npz instead.",
        ) from e
    parts = {part: (x, np.ravel(y)) for part, (x, y) in (("train", train), ("test", test))}
    return array_items(parts, labels=KERAS_LABELS[name], wish=wish)
