"""How often `convert` finds that a source model gets its images otherwise than in its training, and how often it errs.

    python benchmarks/accuracy/wrong_preparations.py --real FOLDER
    python benchmarks/accuracy/wrong_preparations.py --real FOLDER --nets 10 --seed 1

Nets of drawn shapes and lengths of training learn MNIST, hand signs and photos of waste from `FOLDER/data`, each with a
drawn preparation of pixels. Then each is measured as `convert` does (`edgepress.toolkit.conversion.source_check`), on
drawn test
items: with drawn wrong preparations (40 pairs) and with the right one (100 times). A wrong one counts only if it costs
at least 5 points of accuracy on all test items, because what costs nothing is no error; how many cost less is printed.

Prints one line a pair, then how many wrong preparations were found, how often the options named are as good as the
right ones (within 3 points), and how many right ones were accused. Exits with 1 if fewer than 38 of 40 were found or
one of the right ones was accused. Takes about ten minutes.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.contract.guess import guess_contract
from edgepress.converters.contract.hints import Hints, ModelFacts
from edgepress.runtime import InputSpec
from edgepress.toolkit.conversion.source_check import MEASURED, check_source, other_preparations
from edgepress.toolkit.data import open_data

WRONG = 40
RIGHT = 100
LEAST_FOUND = 38
COSTS = 0.05
"""Accuracy that a wrong preparation costs at least."""
AS_GOOD = 0.03
"""How far the options that are named may be below the right ones."""
DATA = {"mnist": InputSpec.image(28, 28, "grey"), "sign_digits/Dataset": InputSpec.image(32, 32, "rgb"),
        "trashnet": InputSpec.image(48, 48, "rgb")}  # fmt: skip
MOST_TRAINED = 1500
LEARNED = 0.7
"""Training accuracy from which on a net has learned something; others are trained on."""
MOST_LONGER = 4
LEAST_RIGHT = 0.45
"""A net that answers fewer of the test items correctly is left out: what it says of an image means little."""


@dataclass(frozen=True)
class Trained:
    """A net, how its pixels are prepared, and its test items."""

    name: str
    model: Any
    facts: ModelFacts
    hints: Hints
    items: Any
    labels: Any
    names: tuple[str, ...]

    def answer(self, items: Any, hints: Hints) -> Any:
        """Scores of items, prepared so."""
        return self.model.predict_on_batch(guess_contract(self.facts, hints).adapter.apply(items))

    def accuracy(self, hints: Hints) -> float:
        """Share of all test items that are right, prepared so."""
        parts = range(0, len(self.items), 250)
        right = [self.answer(self.items[n : n + 250], hints).argmax(axis=1) == self.labels[n : n + 250] for n in parts]
        return float(np.concatenate(right).mean())

    def check(self, hints: Hints, rng: np.random.Generator) -> Any:
        """What `convert` says of it with a preparation, on drawn test items."""
        rows = rng.permutation(len(self.items))[:MEASURED]
        guess = guess_contract(self.facts, hints)

        def ask(some: Any, adapters: Sequence[InputAdapter]) -> Iterator[Any]:
            return (self.model.predict_on_batch(adapter.apply(some)) for adapter in adapters)

        contract = guess.contract.replace(labels=self.names)
        return check_source(self.items[rows], self.labels[rows], ask, contract=contract, adapter=guess.adapter,
                            facts=self.facts, hints=hints)  # fmt: skip


def net(shape: tuple[int, ...], classes: int, rng: np.random.Generator) -> Any:
    """A small convolutional net of a drawn shape, with or without batch normalization."""
    import keras

    width = int(rng.choice([8, 12, 16]))
    normalized = bool(rng.integers(2))
    layers: list[Any] = [keras.Input(shape)]
    for factor in (1, 2, 4)[: int(rng.integers(2, 4))]:
        layers.append(keras.layers.Conv2D(factor * width, 3, padding="same"))
        layers += [keras.layers.BatchNormalization(momentum=0.9)] if normalized else []
        layers += [keras.layers.ReLU(), keras.layers.MaxPooling2D()]
    head = keras.layers.GlobalAveragePooling2D() if rng.integers(2) else keras.layers.Flatten()
    return keras.Sequential([*layers, head, keras.layers.Dense(classes, activation="softmax")])


def trained(real: Path, source: str, seed: int) -> Trained:
    """A net that learned a data set with a drawn preparation."""
    import keras

    rng = np.random.default_rng([seed, 1])
    keras.utils.set_random_seed(seed)
    data = open_data(real / "data" / source, input=DATA[source])
    facts = ModelFacts(DATA[source].shape, len(data.labels), format="keras", ends_in="Softmax")
    usual = [(Hints(), None), *other_preparations(facts, Hints())]
    hints = usual[int(rng.integers(len(usual)))][0]
    rows = rng.permutation(len(data.train))[:MOST_TRAINED]
    model = net(DATA[source].shape, len(data.labels), rng)
    model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy")
    epochs = int(rng.integers(3, 7)) if source == "mnist" else int(rng.integers(8, 17))
    x = guess_contract(facts, hints).adapter.apply(data.train.read(rows))
    for _ in range(MOST_LONGER):
        model.fit(x, data.train.y[rows], batch_size=32, epochs=epochs, verbose=0)
        if (model.predict(x, verbose=0).argmax(axis=1) == data.train.y[rows]).mean() > LEARNED:
            break
    held = [part for part in (data.test, data.val) if len(part)]
    items = np.concatenate([part.read(np.arange(len(part))[:1000]) for part in held])
    labels = np.concatenate([part.y[:1000] for part in held])
    return Trained(f"{source.partition('/')[0]} {seed}", model, facts, hints, items, labels, data.labels)


def words(hints: Hints) -> str:
    """A preparation in words."""
    return " ".join(hints.words) or "0 to 255"


def main() -> int:
    """Train the nets, make the pairs and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=Path, required=True, help="folder with data/mnist and the others")
    parser.add_argument("--nets", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    nets = []
    for number in range(options.nets):
        each = trained(options.real, [*DATA][number % len(DATA)], 1000 * options.seed + number)
        accuracy = each.accuracy(each.hints)
        print(f"{each.name}: {words(each.hints)}, {accuracy:.1%} right", flush=True)
        if accuracy >= LEAST_RIGHT:
            nets.append((each, accuracy))
    found, named, harmless = _wrong(nets, rng)
    alarms = 0
    for number in range(RIGHT):
        each, accuracy = nets[number % len(nets)]
        check = each.check(each.hints, rng)
        if check.is_wrong:
            alarms += 1
            print(f"false alarm: {each.name} ({accuracy:.1%} right): {check.text}")
    print(f"wrong preparations found: {found} of {WRONG}; of these, {named} with options as good as the right ones")
    print(f"drawn besides, and no error because they cost less than {COSTS:.0%}: {harmless}")
    print(f"right preparations accused: {alarms} of {RIGHT}")
    return int(found < LEAST_FOUND or alarms > 0)


def _wrong(nets: Sequence[tuple[Trained, float]], rng: np.random.Generator) -> tuple[int, int, int]:
    """How many wrong preparations were found, found with good options, and left out because they cost little."""
    found = named = harmless = pairs = 0
    while pairs < WRONG:
        each, accuracy = nets[int(rng.integers(len(nets)))]
        usual = [hints for hints, _ in other_preparations(each.facts, each.hints)]
        hints = usual[int(rng.integers(len(usual)))]
        before = each.accuracy(hints)
        if accuracy - before < COSTS:
            harmless += 1
            continue
        pairs += 1
        check = each.check(hints, rng)
        good = check.better is not None and each.accuracy(check.better) >= accuracy - AS_GOOD
        found += check.is_wrong
        named += good
        other = "says it is wrong" if check.is_wrong else "MISSED"
        said = f"names {' '.join(check.options)}" if check.better else other
        print(f"{each.name}: {words(hints)} in place of {words(each.hints)}, {before:.1%} for {accuracy:.1%}: {said}",
              flush=True)  # fmt: skip
    return found, named, harmless


if __name__ == "__main__":
    sys.exit(main())
