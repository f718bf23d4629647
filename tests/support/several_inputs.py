"""Drawn classifiers of two inputs (a picture and a table, two pictures), and data that they learn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Case:
    """A model, and its data as an `.npz` with a test split."""

    model: Path
    data: Path
    inputs: dict[str, Array]
    y: Array
    tests: Array
    """Rows of the test items."""
    keras: Any
    labels: tuple[str, ...]

    def test_inputs(self) -> dict[str, Array]:
        return {name: x[self.tests] for name, x in self.inputs.items()}

    def expected(self) -> Array:
        """What Keras answers to the test items."""
        floats = {name: x.astype(np.float32) for name, x in self.test_inputs().items()}
        return np.asarray(self.keras.predict(floats, verbose=0))


def draw_case(kind: str, seed: int, folder: Path, count: int = 240) -> Case:
    """A trained model of one kind ("values" or "pictures") of drawn shapes and classes."""
    import keras

    rng = np.random.default_rng([seed, len(kind)])
    keras.utils.set_random_seed(seed)
    classes = int(rng.integers(3, 5))
    y = rng.integers(0, classes, count)
    shape = (*map(int, rng.integers(9, 17, 2)), int(rng.choice([1, 3])))
    inputs = {"photo" if kind == "values" else "left": _pictures(y % 2, shape, rng)}
    if kind == "values":
        size = int(rng.integers(2, 9))
        inputs["values"] = (rng.normal(size=(count, size)) + 3 * (y // 2)[:, np.newaxis]).astype(np.float32)
    else:
        inputs["right"] = _pictures(y // 2, shape, rng)
    model = _model({name: x.shape[1:] for name, x in inputs.items()}, classes, int(rng.integers(4, 9)))
    tests = np.sort(rng.permutation(count)[: count // 4])
    trained = np.setdiff1d(np.arange(count), tests)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.optimizer.learning_rate = 0.01
    model.fit({name: x[trained].astype(np.float32) for name, x in inputs.items()}, y[trained], epochs=12, verbose=0)
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / "model.keras")
    labels = tuple(f"class {i}" for i in range(classes))
    arrays = {f"{name}_train": x[trained] for name, x in inputs.items()}
    arrays |= {f"{name}_test": x[tests] for name, x in inputs.items()}
    named = {"y_train": y[trained], "y_test": y[tests], "labels": np.array(labels)}
    np.savez(folder / "data.npz", **arrays, **named)
    return Case(folder / "model.keras", folder / "data.npz", inputs, y, tests, model, labels)


def _pictures(kind: Array, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Dark and bright pictures."""
    bright = 70 + 90 * kind.reshape(-1, 1, 1, 1)
    return np.clip(rng.normal(bright, 25, (len(kind), *shape)), 0, 255).astype(np.uint8)


def _model(shapes: dict[str, tuple[int, ...]], classes: int, width: int) -> Any:
    import keras

    sources = [keras.Input(shape, name=name) for name, shape in shapes.items()]
    features = []
    for source in sources:
        if len(source.shape) == 2:
            features.append(keras.layers.Dense(width, activation="relu")(source))
            continue
        x = keras.layers.Rescaling(1 / 127.5, -1)(source)
        x = keras.layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        features.append(keras.layers.GlobalAveragePooling2D()(x))
    x = keras.layers.Dense(12, activation="relu")(keras.layers.Concatenate()(features))
    return keras.Model(sources, keras.layers.Dense(classes, activation="softmax")(x))
