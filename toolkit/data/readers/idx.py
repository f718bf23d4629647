"""Small data sets that everybody knows: folders of IDX files, MNIST's format, and built-in ones by their name.

The folder contains `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`, and optionally the same for `t10k` or
`test`, each plain or with `.gz`. An IDX file is a big-endian magic number (two zero bytes, the type, the number of
dimensions), one uint32 per dimension, and the values. Only unsigned bytes are supported, as these data sets use them.

Read a data set by its name: `digits` from scikit-learn, or one of four from keras.datasets.

Keras downloads its data sets on first use and keeps them in `~/.keras/datasets`. All are held in memory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import math
import re
import struct
import sys
from pathlib import Path
from typing import IO, cast

import numpy as np
import numpy.typing as npt

from edgepress.converters.files import ArchivePart, refuse_bomb, require_memory
from edgepress.runtime.filetypes import open_regular
from edgepress.toolkit.data.items import Items, ReadOptions, array_items, in_order
from edgepress.toolkit.errors import DataError, MissingExtraError

FREE_BYTES = 1 << 30
"""Bytes that a header may claim, however small the file is."""
IDX_NAMES = (
    "IDX files: train-images-idx3-ubyte and train-labels-idx1-ubyte; t10k or test instead of train for test items."
)
"""The names by which files are taken for IDX files, in words."""
AGAIN = "Download it again."

_NAME = re.compile(r"(.+-)?(train|t10k|test)-(images|labels)[-.]idx[1-4]-ubyte(\.gz)?")


def is_idx_folder(path: Path) -> bool:
    """Whether a path is a folder with files named like IDX files."""
    return path.is_dir() and any(_NAME.fullmatch(file.name) for file in path.iterdir())


def read_idx_folder(folder: Path, options: ReadOptions) -> Items:
    """Read a folder of IDX files.

    Raises:
        DataError: A file is missing, damaged or too large, or images and labels do not match.
    """
    files: dict[tuple[str, str], Path] = {}
    for path in sorted(folder.iterdir()):  # so that a plain file comes before its .gz, which is then ignored
        if match := _NAME.fullmatch(path.name):
            key = ("train" if match[2] == "train" else "test", match[3])
            first = files.setdefault(key, path)
            if first.name.removesuffix(".gz") != path.name.removesuffix(".gz"):
                hint = "Keep one."
                raise DataError(f"{folder} has two files of {' '.join(key)}: {first.name} and {path.name}.", hint)
    parts = {}
    present = {part for part, _ in files}
    for part in ("train", "test"):
        missing = [what for what in ("images", "labels") if (part, what) not in files]
        if len(missing) == 1 or (part == "train" and options.lacks_training(present)):
            hint = f"Its usual name is {part}-{missing[0]}-idx…-ubyte.gz."
            raise DataError(f"{folder} has no file of {part} {missing[0]}.", hint)
        if not missing:
            parts[part] = _read_part(files[part, "images"], files[part, "labels"])
    shapes = {part: x.shape[1:] for part, (x, _) in parts.items()}
    if len(set(shapes.values())) > 1:
        raise DataError(f"{folder} contains images of different sizes: {shapes}.")
    values = np.unique(np.concatenate([y for _, y in parts.values()]))
    classes = {part: (x, np.searchsorted(values, y)) for part, (x, y) in parts.items()}
    return array_items(classes, labels=tuple(in_order([str(v) for v in values])), options=options)


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, plain or gzip.

    Raises:
        DataError: The file can't be read, is of another format or type, truncated, too long, or too large.
    """
    try:
        with open_regular(path) as plain, cast(IO[bytes], gzip.open(plain) if path.suffix == ".gz" else plain) as file:
            zero, kind, ndim = struct.unpack(">HBB", file.read(4))
            if zero or not 1 <= ndim <= 4:
                raise ValueError("it does not begin with the magic number of an IDX file")
            if kind != 0x08:
                raise ValueError(f"its values are of type 0x{kind:02x}, accepted: 0x08 (unsigned bytes)")
            shape = struct.unpack(f">{ndim}I", file.read(4 * ndim))
            size = math.prod(shape)
            claim = [ArchivePart(f"the shape {shape}", size, path.stat().st_size)]
            refuse_bomb(path, claim, AGAIN, free_bytes=FREE_BYTES, error=DataError)
            require_memory(path, 2 * size, "Give fewer items.", error=DataError)
            data = file.read(size + 1)
            if len(data) != size:
                problem = f"ends after {len(data)} bytes" if len(data) < size else "has more data after them"
                raise ValueError(f"its header claims {size} bytes of shape {shape}, and it {problem}")
            return np.frombuffer(data, np.uint8).reshape(shape)
    except DataError:
        raise
    except Exception as e:  # gzip and struct raise several kinds
        reason = "it ends within its header" if isinstance(e, struct.error) else getattr(e, "strerror", None) or e
        raise DataError(f"The IDX file {path} can't be read: {reason}.", AGAIN) from e


def _read_part(images: Path, labels: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    x = read_idx(images)
    y = read_idx(labels)
    if not (x.ndim == 3 or (x.ndim == 4 and x.shape[3] in (1, 3))) or y.ndim != 1 or not x.size:
        raise DataError(
            f"{images.name} has the shape {x.shape} and {labels.name} {y.shape}; accepted: (N, height, width) and (N,)."
        )
    if len(x) != len(y):
        hint = "Both need the same number."
        raise DataError(f"{images.name} has {len(x)} images and {labels.name} {len(y)} labels.", hint)
    return x, y


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
BUILTIN = "builtin:"
"""What may stand before a name on the command line, where a folder has it, too."""


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
