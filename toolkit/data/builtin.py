"""Read a data set by its name: `digits` from scikit-learn, or one of four from keras.datasets.

Keras downloads its data sets on first use and keeps them in `~/.keras/datasets`. All are held in memory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys

import numpy as np

from edgepress.toolkit.data.items import Items, ReadOptions, array_items
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
"""Class names by data set, in the order of the class numbers of keras.datasets."""
NAMES = ("digits", *KERAS_LABELS)


def is_builtin(source: object) -> bool:
    """Whether `source` is the name of a data set, given as a string."""
    return isinstance(source, str) and source in NAMES


def color_of(source: object) -> str | None:
    """The color mode in which the images of a data set of this name are; None if `source` is no such name."""
    if not is_builtin(source):
        return None
    return "rgb" if str(source).startswith("cifar") else "grey"


def read_builtin(name: str, options: ReadOptions) -> Items:
    """Read the data set of this name, one of `NAMES`.

    Raises:
        DataError: It is not on this machine and can't be downloaded.
        MissingExtraError: The package that provides it is not installed.
    """
    return _digits(options) if name == "digits" else _from_keras(name, options)


def _digits(options: ReadOptions) -> Items:
    """1,797 handwritten digits of 8x8 pixels (UCI, Alpaydin & Kaynak 1998), resized to 28x28."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as e:
        raise MissingExtraError("The data set 'digits'", "scikit-learn", "toolkit") from e
    digits = load_digits()
    x = np.round(digits.images * (255 / 16)).astype(np.uint8)
    options = dataclasses.replace(options, size=options.size or (28, 28))
    return array_items({"train": (x, digits.target)}, labels=_TEN, options=options)


def _from_keras(name: str, options: ReadOptions) -> Items:
    try:
        import keras
    except ImportError as e:
        raise MissingExtraError(f"The data set {name!r}", "keras", "toolkit") from e
    try:
        with contextlib.redirect_stdout(sys.stderr):  # keras prints its progress to stdout, which is for results
            train, test = getattr(keras.datasets, name).load_data()
    except Exception as e:  # keras raises a bare Exception if a download fails
        hint = "Connect to a network once, or give a folder of images, a folder of IDX files or an .npz instead."
        raise DataError(f"The data set {name!r} is not on this machine and could not be downloaded: {e}.", hint) from e
    parts = {part: (x, np.ravel(y)) for part, (x, y) in (("train", train), ("test", test))}
    return array_items(parts, labels=KERAS_LABELS[name], options=options)
