"""Time to evaluate MobileNetV2 1.0 int8 at 224x224 on 5,000 images, against a bare loop over the same images.

    python benchmarks/speed/evaluation_speed.py [--rounds 3] [--images 5000]

Theirs: `set_tensor`, `invoke`, `get_tensor`, `argmax` for every image on one CPU; its process, the interpreter and a
first answer are there before the clock starts. Ours: `collect_answers` and all figures that `evaluate` gives, from the
start of its processes to their end, nothing remembered from earlier: once with everything pinned to that CPU (limit
1.15), once with two CPUs (limit 0.65). The weights are seeded, the images generated: 250 that are held in memory and
come again and again, so that neither side waits for a disk.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "shared"))

from side_by_side import report, summarize
from zoo_models import build

from edgepress.converters.conversion.conversion import Conversion
from edgepress.converters.options.conversion import MINMAX
from edgepress.runtime import Contract, InputSpec
from edgepress.toolkit.data.items import ArraySource
from edgepress.toolkit.data.types import DataSet, Split
from edgepress.toolkit.errors import EdgepressError
from edgepress.toolkit.measurement.benchmarking.collect import collect_answers
from edgepress.toolkit.stats.metrics import calibration_error, classification_metrics
from edgepress.toolkit.workers.opening import Candidate

ONE_CORE, TWO_CORES = 1.15, 0.65
DISTINCT = 250
SPEC = InputSpec.image(224, 224, "rgb")
LABELS = tuple(map(str, range(1000)))
BARE = """
import sys, time, numpy as np
from ai_edge_litert.interpreter import Interpreter
images, count = np.load(sys.argv[2]), int(sys.argv[3])
interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
source, sink = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
def answer(i):
    interpreter.set_tensor(source, images[i : i + 1])
    interpreter.invoke()
    return interpreter.get_tensor(sink)[0].argmax()
answer(0)
start = time.perf_counter()
predicted = [answer(i % len(images)) for i in range(count)]
print(time.perf_counter() - start, sum(predicted))
"""


def make_file(folder: Path, images: np.ndarray) -> Path:
    """MobileNetV2 with seeded weights that answers different images differently, int8."""
    build("MobileNetV2", SPEC.shape[0], images=32).save(folder / "model.keras")
    contract = Contract(task="logits", labels=LABELS, input=SPEC, scheme="keras")
    calibration = partial(list, [images[:16]])
    with Conversion(folder / "model.keras") as conversion:
        how = replace(MINMAX, verify=False)
        (made,) = conversion.run(["tflite-int8"], contract, calibration=calibration, out=folder, how=how)
    assert made.path is not None, made.error
    return made.path


def main() -> None:
    """Alternate the three, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=5000)
    options = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))
    images = np.random.default_rng(0).integers(0, 256, (DISTINCT, *SPEC.shape), np.uint8)
    indices = np.arange(options.images) % DISTINCT
    y = np.random.default_rng(1).integers(0, len(LABELS), options.images)
    source = ArraySource(images, [str(i) for i in range(DISTINCT)], SPEC)
    empty = Split(source, indices[:0], y[:0])
    data = DataSet("generated", LABELS, SPEC, empty, empty, Split(source, indices, y), "")
    classification_metrics(y, y, labels=LABELS)  # scikit-learn is imported

    with tempfile.TemporaryDirectory() as folder:
        file = make_file(Path(folder), images)
        np.save(Path(folder) / "images.npy", images)
        sums = set()

        def bare() -> float:
            os.sched_setaffinity(0, cpus[:1])
            command = [sys.executable, "-c", BARE, str(file), f"{folder}/images.npy", str(options.images)]
            seconds, total = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
            sums.add(int(total))
            return float(seconds)

        def ours(count: int) -> float:
            os.sched_setaffinity(0, cpus[:count])
            start = time.perf_counter()
            (answers,) = collect_answers([Candidate(file, "litert")], data)
            assert not isinstance(answers, EdgepressError), answers
            classification_metrics(y, answers.predicted, labels=LABELS)
            calibration_error(answers.confidence, answers.predicted == y)
            seconds = time.perf_counter() - start
            sums.add(int(answers.predicted.sum()))
            return seconds

        sides = {"bare": bare, "one": partial(ours, 1), "two": partial(ours, 2)}
        taken: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(options.rounds):
            for name in list(sides)[:: 1 if turn % 2 else -1]:
                taken[name].append(sides[name]())
                print(f"  round {turn + 1} {name:5} {taken[name][-1]:6.2f} s", file=sys.stderr)
    os.sched_setaffinity(0, cpus)
    assert len(sums) == 1 and sums != {0}, f"the sides answer differently, or all alike: {sums}"  # noqa: PT018
    comparisons = [summarize(f"{options.images} images, one CPU", taken["one"], taken["bare"], limit=ONE_CORE)]
    if len(cpus) > 1:
        comparisons.append(
            summarize(
                f"{options.images} images, two CPUs, bare loop on one", taken["two"], taken["bare"], limit=TWO_CORES
            )
        )
    report(comparisons)


if __name__ == "__main__":
    main()
