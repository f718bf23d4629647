"""Train, convert, benchmark and predict on a built-in data set: offline, in under a minute.

All files stay in one folder. A second demo in the same folder reuses its trained model and repeats the other steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.converters.files import whole_file
from edgepress.converters.variant import Variant
from edgepress.runtime.filetypes import VARIANTS
from edgepress.toolkit.arguments import OnProgress
from edgepress.toolkit.conversion.convert import convert, summary
from edgepress.toolkit.data import open_data
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.measurement.benchmarking.benchmark import BenchmarkOptions, benchmark, write_benchmark
from edgepress.toolkit.measurement.prediction import ImageResult, as_dicts, predict
from edgepress.toolkit.results.records import Benchmark
from edgepress.toolkit.stats.choice import CONFIDENCE, Rule
from edgepress.toolkit.training.loop import train

DATA = "digits"
ARCH = "lenet"
IMAGES = 5
"""Test images that the demo classifies."""
ENGINES = "litert,onnxruntime"
"""Those that the extra "toolkit" installs; more would make the demo longer than a minute."""
TIMING_S = 2.0
"""Seconds of timing for each file on each engine."""


@dataclass(frozen=True)
class Demo:
    """The results of a demo, in the order of its steps.

    Attributes:
        out: The folder.
        accuracy: Accuracy of the source model on the test split, 0-1.
        variants: The converted files.
        benchmark: Their measurements and the advice.
        images: PNG files of a few test items, named after their classes.
        predictions: Classes of these images by the file to ship; empty if no file is recommended.
        seconds: Duration of the whole demo.
    """

    out: Path
    accuracy: float
    variants: list[Variant]
    benchmark: Benchmark
    images: list[Path]
    predictions: list[ImageResult]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The document that `demo --json` prints."""
        return {
            "out": str(self.out),
            "ship": self.benchmark.advice.ship,
            "why": self.benchmark.advice.why,
            "benchmark": self.benchmark.to_dict(),
            "keras_accuracy": self.accuracy,
            "predictions": as_dicts(self.predictions),
            "seconds": round(self.seconds, 1),
        } | summary(self.variants)


def demo(
    out: str | Path = "edgepress-demo",
    *,
    confidence: str | float = CONFIDENCE,
    prefer: str = "balanced",
    on_step: Callable[[str], None] | None = None,
    on_progress: OnProgress | None = None,
    training_bar: bool = False,
) -> Demo:
    """Train LeNet on digits, convert it to every scheme, benchmark the files and classify with the one to ship.

    Args:
        out: Folder for all files; created if missing.
        confidence: As `BenchmarkOptions.confidence`.
        prefer: As `BenchmarkOptions.prefer`.
        on_step: Called with a sentence when a step begins.
        on_progress: As for `benchmark`.
        training_bar: Draw a progress bar of the training on standard error.

    Raises:
        EdgepressError: A step failed, for instance because the folder holds another training run.

    Example:
        >>> from edgepress.toolkit import demo
        >>> demo("edgepress-demo").benchmark.advice.ship
        'edgepress-demo/variants/model-int8.tflite'
    """
    Rule.of(confidence, prefer)  # before the training
    folder = Path(out)
    begun = time.perf_counter()
    step = on_step or (lambda text: None)
    step(f"Training {ARCH} on {DATA}")
    data = open_data(DATA)
    trained = train(data, ARCH, out=folder, resume=True, progress=training_bar)
    variants = convert(trained.model, on_start=lambda scheme: step(f"Converting to {scheme}"))
    step("Measuring every file")
    options = BenchmarkOptions(engine=ENGINES, timing_s=TIMING_S, confidence=confidence, prefer=prefer)
    result = benchmark(trained.model.parent / VARIANTS, options=options, on_progress=on_progress)
    write_benchmark(result, folder)
    images = _write_images(data, folder / "images")
    ship = result.advice.ship
    engine = result.advice.engine
    predictions = predict(ship, images, engine=engine, top=1) if ship is not None else []
    accuracy = float(trained.metrics["accuracy"])
    return Demo(folder, accuracy, variants, result, images, predictions, time.perf_counter() - begun)


def _write_images(data: DataSet, folder: Path) -> list[Path]:
    """Write the first test item of each of a few classes as a PNG file named after its class."""
    from PIL import Image

    paths = []
    for y in np.linspace(0, len(data.labels) - 1, IMAGES).round().astype(int):
        row = int(np.flatnonzero(data.test.y == y)[0])
        path = folder / f"a-{data.labels[y]}.png"
        with whole_file(path) as temporary:
            Image.fromarray(data.test.read([row])[0, :, :, 0]).save(temporary)
        paths.append(path)
    return paths
