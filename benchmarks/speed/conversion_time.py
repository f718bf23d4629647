"""Time to convert MobileNetV2 at 224x224: against bare float conversion, and with rewrites or repairs against without.

    python benchmarks/speed/conversion_time.py [--rounds 5] [--only bare|rewrites|repairs]

bare      ours: open the `.keras` file, one float conversion of the frozen graph, one calibration pass over 100 images,
          four quantizations, five TFLite files written with their contracts and compared with the model. Theirs: open
          the same file and call `tf.lite.TFLiteConverter.from_keras_model(model).convert()` once, for the float file
rewrites  all nine schemes with rewrites, against the same without
repairs   all nine schemes with repairs and chosen ranges, against the same without

Each in fresh processes that have yet to import TensorFlow.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "shared"))

from side_by_side import Comparison, report, summarize

from edgepress.converters.conversion.conversion import Conversion
from edgepress.converters.options.conversion import MINMAX, ConversionOptions
from edgepress.converters.schemes import parse_schemes
from edgepress.converters.variant import Variant
from edgepress.runtime import Contract, InputSpec

PLAIN = replace(MINMAX, repairs=False, verify=False)
"""A random net's probabilities are all 0.001, which eight bits can't tell apart."""
LIMITS, IMAGES = {"bare": 1.5, "rewrites": 1.25, "repairs": 1.5}, 100
BARE = """
import sys, keras, tensorflow as tf
model = keras.saving.load_model(sys.argv[1], compile=False)
open(sys.argv[1] + ".tflite", "wb").write(tf.lite.TFLiteConverter.from_keras_model(model).convert())
"""


def main() -> None:
    """Alternate the two sides of each comparison, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=LIMITS)
    args = parser.parse_args()
    keras.utils.set_random_seed(0)
    inputs = keras.Input((224, 224, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    model = keras.Model(inputs, keras.applications.MobileNetV2(weights=None)(scaled))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mobilenet.keras"
        model.save(path)
        bare = [sys.executable, "-c", BARE, str(path)]
        sides: dict[str, tuple[str, Callable[[], object], Callable[[], object]]] = {
            "bare": (
                "five TFLite files of MobileNetV2, one float conversion",
                partial(convert, path, "tflite"),
                partial(subprocess.run, bare, check=True, stderr=subprocess.DEVNULL),
            ),
            "rewrites": (
                "nine files of MobileNetV2 with rewrites, without",
                partial(convert, path, "all"),
                partial(convert, path, "all", replace(PLAIN, rewrites=False)),
            ),
            "repairs": (
                "nine files of MobileNetV2 with repairs, without",
                partial(convert, path, "all", replace(PLAIN, repairs=True, calibration="auto")),
                partial(convert, path, "all"),
            ),
        }
        chosen = [args.only] if args.only else list(sides)
        report([compared(*sides[name], rounds=args.rounds, limit=LIMITS[name]) for name in chosen])


def compared(
    title: str, ours: Callable[[], object], theirs: Callable[[], object], *, rounds: int, limit: float
) -> Comparison:
    """Time two functions in alternation, after a round that is not counted, because it fills the disk's cache."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds + 1):
        for side in (0, 1) if turn % 2 else (1, 0):
            start = time.perf_counter()
            (ours, theirs)[side]()
            if turn:
                times[side].append(time.perf_counter() - start)
    return summarize(title, *times, limit=limit)


def convert(path: Path, to: str, how: ConversionOptions = PLAIN) -> None:
    """Make files of the model."""
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, 224, 224, 3), dtype=np.uint8)
    labels = tuple(map(str, range(1000)))
    contract = Contract(task="softmax", labels=labels, input=InputSpec.image(224, 224, "rgb"), scheme="keras")

    def show(variant: Variant) -> None:
        print(f"  {variant.scheme:16} {variant.seconds:6.2f} s {variant.error}", file=sys.stderr)
        assert variant.path is not None

    with Conversion(path) as conversion:
        conversion.run(
            parse_schemes(to),
            contract,
            calibration=partial(list, [images[i : i + 10] for i in range(0, IMAGES, 10)]),
            out=path.parent / "out",
            how=how,
            on_done=show,
        )


if __name__ == "__main__":
    main()
