"""Time to make all five TFLite files of MobileNetV2 1.0 at 224x224, against one bare float conversion.

    python benchmarks/conversion_time.py [--rounds 5]

Both in fresh processes that have yet to import TensorFlow. Ours: open the `.keras` file, one float conversion of the
frozen graph, one calibration pass over 100 images, four quantizations, five files written with their contracts and
compared with the model. Theirs: open the same file and call
`tf.lite.TFLiteConverter.from_keras_model(model).convert()` once, for the float file alone.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from side_by_side import report, summarize

from edgepress.converters.conversion import Conversion
from edgepress.converters.schemes import parse_schemes
from edgepress.converters.variant import Variant
from edgepress.runtime import Contract, InputSpec

LIMIT, IMAGES = 1.5, 100
BARE = """
import sys, keras, tensorflow as tf
model = keras.saving.load_model(sys.argv[1], compile=False)
open(sys.argv[1] + ".tflite", "wb").write(tf.lite.TFLiteConverter.from_keras_model(model).convert())
"""


def main() -> None:
    """Alternate the two sides, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    keras.utils.set_random_seed(0)
    inputs = keras.Input((224, 224, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    model = keras.Model(inputs, keras.applications.MobileNetV2(weights=None)(scaled))
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, 224, 224, 3), dtype=np.uint8)
    labels = tuple(map(str, range(1000)))
    contract = Contract(task="softmax", labels=labels, input=InputSpec.image(224, 224, "rgb"), scheme="keras")

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mobilenet.keras"
        model.save(path)

        def ours() -> None:
            def show(variant: Variant) -> None:
                print(f"  {variant.scheme:16} {variant.seconds:6.2f} s {variant.error}", file=sys.stderr)
                assert variant.path is not None

            with Conversion(path) as conversion:
                conversion.run(
                    parse_schemes("tflite"),
                    contract,
                    calibration=partial(list, [images[i : i + 10] for i in range(0, IMAGES, 10)]),
                    out=Path(folder) / "out",
                    enforce=False,  # a random net's probabilities are all 0.001, which eight bits can't tell apart
                    on_done=show,
                )

        def theirs() -> None:
            subprocess.run([sys.executable, "-c", BARE, str(path)], check=True, stderr=subprocess.DEVNULL)

        times: dict[str, list[float]] = {"ours": [], "theirs": []}
        for turn in range(rounds + 1):
            for side in (ours, theirs) if turn % 2 else (theirs, ours):
                start = time.perf_counter()
                side()
                if turn:  # the first round imports what is needed
                    times[side.__name__].append(time.perf_counter() - start)
                keras.backend.clear_session()
        title = "five TFLite files of MobileNetV2, one float conversion"
        report([summarize(title, times["ours"], times["theirs"], limit=LIMIT)])


if __name__ == "__main__":
    main()
