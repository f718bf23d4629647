"""Whether the verdicts and advice of one conversion contradict each other, on nets of all qualities.

    python benchmarks/proof/verdicts.py --real FOLDER               # 30 nets, about two minutes each
    python benchmarks/proof/verdicts.py --real FOLDER --nets 6 --first 12 --ship

Nets of drawn shapes learn hand signs or MNIST from `FOLDER/data` for 0 to 20 epochs: from untrained ones to nearly
perfect ones, with normalizations that have not settled, and with a Resizing layer that engines compute otherwise. Each
is converted to all schemes and some of those made by name, and what `convert` says is read. With `--ship`, the files
are benchmarked, too. A contradiction is:

* a file that is refused, and is at least as good in agreement, noise and lost labels as one that is accepted;
* a float file that is refused beside a quantized one of its format that is accepted;
* advice that names a scheme that was refused, or says "was written" of one that was not;
* advice to give data like the training data, which were given; to leave out an option that was not given;
* a model that is called fragile beside a file in 8 bits that keeps 95 % of its labels;
* a recommended file of a model of which `convert` says that it is near the largest class.

Prints a line a net with its quality and verdicts, and the contradictions. Exits with 1 if there is one.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from edgepress.converters.schemes import ALL, SCHEMES
from edgepress.converters.variant import Variant
from edgepress.runtime import InputSpec
from edgepress.toolkit import benchmark, convert
from edgepress.toolkit.data import open_data
from edgepress.toolkit.measurement.benchmarking.options import BenchmarkOptions

EPOCHS = (0, 0, 1, 1, 2, 3, 4, 6, 10, 20)
MOST_TRAINED = 2000
BY_NAME = ("tflite-int4", "tflite-weights8")
KEPT = 0.95
"""Agreement from which on a file shows no fragile model."""


def net(shape: tuple[int, ...], classes: int, rng: np.random.Generator) -> Any:
    """A net of a drawn shape that takes pixels of 0-255."""
    import keras

    width = int(rng.choice([6, 8, 12]))
    kind = ("plain", "normalized", "separable")[int(rng.integers(3))]
    layers: list[Any] = [keras.Input(shape), keras.layers.Rescaling(1 / 127.5, -1)]
    if rng.random() < 0.2:
        layers.append(keras.layers.Resizing(24, 24, interpolation="bicubic"))
    for factor in (1, 2, 4)[: int(rng.integers(2, 4))]:
        if kind == "separable" and factor > 1:
            layers += [keras.layers.DepthwiseConv2D(3, padding="same"), keras.layers.BatchNormalization()]
        layers.append(
            keras.layers.Conv2D(factor * width, 1 if kind == "separable" and factor > 1 else 3, padding="same")
        )
        layers += [keras.layers.BatchNormalization()] if kind != "plain" else []
        layers += [keras.layers.ReLU(6 if kind == "separable" else None), keras.layers.MaxPooling2D()]
    layers += [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(classes, activation="softmax")]
    return keras.Sequential(layers)


def trained(real: Path, number: int, folder: Path) -> tuple[Path, str, str]:
    """A net of a drawn quality: its file, its data, and what it is in words."""
    import keras

    rng = np.random.default_rng([number, 7])
    keras.utils.set_random_seed(number)
    source, item = (
        ("mnist", InputSpec.image(28, 28, "grey")),
        ("sign_digits/Dataset", InputSpec.image(32, 32, "rgb")),
    )[number % 2]
    data = open_data(real / "data" / source, input=item)
    model = net(item.shape, len(data.labels), rng)
    epochs = EPOCHS[number % len(EPOCHS)]
    if epochs:
        rows = rng.permutation(len(data.train))[:MOST_TRAINED]
        model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy")
        model.fit(data.train.read(rows).astype(np.float32), data.train.y[rows], epochs=epochs, verbose=0)
    path = folder / "net.keras"
    model.save(path)
    return path, str(real / "data" / source), f"{source.partition('/')[0]}, {epochs} epochs"


def better(one: Variant, other: Variant) -> bool:
    """Whether a file is at least as good as another in all that was measured of both."""
    first = one.verification
    second = other.verification
    if first is None or second is None or first.items != second.items:
        return False
    higher = ((first.agreement, second.agreement), (first.spread_db, second.spread_db))
    lower = ((first.lost, second.lost), (first.end_error, second.end_error))
    pairs = [*higher, *((b, a) for a, b in lower)]
    return all(a is None or b is None or a >= b for a, b in pairs)


def contradictions(variants: Sequence[Variant], notes: Sequence[str]) -> Iterator[str]:
    """What does not agree in the verdicts and advice of a conversion on a model's own data, without options."""
    refused = [v for v in variants if v.path is None]
    accepted = [v for v in variants if v.path is not None]
    names = {v.scheme for v in refused}
    for bad in refused:
        for good in accepted:
            if better(bad, good):
                yield f"{bad.scheme} is refused ({bad.error}), and {good.scheme}, which is no better, is accepted"
            scheme = SCHEMES[bad.scheme]
            if scheme.is_float32 and SCHEMES[good.scheme].format == scheme.format:
                yield f"{bad.scheme} is refused ({bad.error}), and {good.scheme} is accepted"
        for scheme in re.findall(r"(?:tflite|onnx)-[a-z0-9]+", bad.hint):
            if scheme in names:
                yield f"the advice on {bad.scheme} names {scheme}, which was refused: {bad.hint}"
            elif "which was written" in bad.hint and scheme not in {v.scheme for v in accepted}:
                yield f"the advice on {bad.scheme} says that {scheme} was written: {bad.hint}"
    for text in (*(v.hint for v in refused), *notes):
        for wrong in ("like its training data", "its own data with --data", "--no-repairs"):
            if wrong in text:
                yield f"{wrong!r} in: {text}"
    eight = [
        v.verification.agreement or 0 for v in variants if v.verification and SCHEMES[v.scheme].arithmetic == "int8"
    ]
    if any("fragile" in note for note in notes) and max(eight, default=0) >= KEPT:
        yield f"the model is fragile, and a file in 8 bits keeps {max(eight):.1%} of its labels"


def main() -> int:
    """Train, convert and read."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=Path, required=True, help="folder with data/mnist and data/sign_digits")
    parser.add_argument("--nets", type=int, default=30)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--to", default=",".join((*ALL, *BY_NAME)))
    parser.add_argument("--ship", action="store_true", help="benchmark the files, too")
    options = parser.parse_args()
    count = 0
    for number in range(options.first, options.first + options.nets):
        with tempfile.TemporaryDirectory() as name:
            model, data, what = trained(options.real, number, Path(name))
            notes: list[str] = []
            variants = convert(model, options.to, data=data, out=Path(name, "out"), on_note=notes.append)
            found = [*contradictions(variants, notes)]
            weak = variants.source is not None and variants.source.near is not None
            if options.ship:
                result = benchmark(Path(name, "out"), data=data, options=BenchmarkOptions(rounds=1, limits=False))
                if weak and result.advice.ship:
                    found.append(f"{result.advice.ship} is recommended, and: {variants.source.text}")
        quality = f"{variants.source.accuracy:.1%} right{', near the largest class' * weak}" if variants.source else ""
        fragile = "; fragile" * any("fragile" in note for note in notes)
        refused = ", ".join(v.scheme for v in variants if v.path is None) or "none"
        print(f"net {number} ({what}): {quality}{fragile}; refused: {refused}", flush=True)
        for text in found:
            print(f"  contradiction: {text}", flush=True)
        count += len(found)
    print(f"contradictions: {count} on {options.nets} nets")
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main())
