"""Newer families of nets as ONNX files of others: what int8 costs, in our files and in bare tools' files.

    python benchmarks/accuracy/families.py NET.onnx [NET.onnx ...] --data DATA.npz [--mean 123.7,116.3,103.5]
        [--std 58.4,57.1,57.4] [--to tflite-float32,tflite-int8,onnx-int8] [--samples 1000]

Each net is a float classifier of images, trained elsewhere on the same data (`x_train`, `y_train`, `x_test`, `y_test`;
pixels 0-255); `train_families.py` in this folder trains six of timm's on CIFAR-10 and writes them. A row is one file:
its status, its accuracy on all test items, and the drop from the ONNX model in ONNX Runtime with its 95 % interval,
paired over the items, in percentage points. Bare tools take the same training items: ONNX Runtime's `quantize_static`
with its defaults and with percentiles (of 200 items), after `quant_pre_process`; the bare quantizers of TFLite read no
ONNX. The time of an item, beside that of the format's float file, is the median of interleaved rounds on one thread.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

sys.path.append(str(Path(__file__).parents[1] / "shared"))

from accuracy_lines import Flags, accuracy, drop

from edgepress.runtime import load
from edgepress.toolkit.conversion.convert import Hints, convert
from edgepress.toolkit.data import calibration_rows, open_data
from edgepress.toolkit.machine.host import describe_host

Array = npt.NDArray[Any]
Normalize = Callable[[Array], Array]
BATCH = 100
ROUNDS = 31
SCHEMES = "tflite-float32,tflite-int8,tflite-mixed,onnx-float32,onnx-int8,onnx-mixed"


def main() -> None:
    """Print the rows of each net."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+", metavar="NET.onnx")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--mean", default="123.675,116.28,103.53")
    parser.add_argument("--std", default="58.395,57.12,57.375")
    parser.add_argument("--to", default=SCHEMES)
    parser.add_argument("--samples", type=int, default=1000)
    args = parser.parse_args()
    print(describe_host())
    mean, std = (np.array([float(v) for v in text.split(",")], np.float32) for text in (args.mean, args.std))

    def normalize(images: Array) -> Array:
        return np.ascontiguousarray(((images - mean) / std).astype(np.float32).transpose(0, 3, 1, 2))

    splits = open_data(args.data)
    images, classes = splits.test.read(np.arange(len(splits.test))), splits.test.y
    calibrating = normalize(splits.train.read(calibration_rows(splits.train, args.samples)))
    hints = Hints(mean=args.mean, std=args.std, color="rgb", channels_first=True, task="logits")
    for model in args.models:
        with tempfile.TemporaryDirectory() as folder:
            reference = right_of_session(model, normalize, images, classes)
            print(f"{model.stem}: {len(images)} test items, ONNX Runtime {accuracy(reference)} %", flush=True)
            started = time.perf_counter()
            variants = convert(model, args.to, data=args.data, out=folder, hints=hints, samples=args.samples)
            print(f"  {len(variants)} files in {time.perf_counter() - started:.0f} s", flush=True)
            paths = {variant.scheme: variant.path for variant in variants if variant.path}
            times = item_times(paths, images[0])
            for variant in variants:
                if variant.path is None:
                    print(f"  {variant.scheme:15} no file: {variant.error}")
                    continue
                right = right_of_file(variant.path, images, classes)
                size = f"{variant.path.stat().st_size:,} B"
                print(
                    f"  {variant.scheme:15} {variant.status:9} {drop(reference, right)} {size:>14} "
                    f"{times[variant.scheme]}",
                    flush=True,
                )
            for name, make in BARE.items():
                path = Path(folder) / f"{name}.onnx"
                try:
                    make(model, path, calibrating)
                    right = right_of_session(path, normalize, images, classes)
                except Exception as e:  # whatever the tool or the engine raises
                    print(f"  {name:25} {type(e).__name__}: {str(e)[-160:]}", flush=True)
                    continue
                print(f"  {name:25} {drop(reference, right)} {path.stat().st_size:>12,} B", flush=True)


def batches(images: Array) -> Iterator[Array]:
    """The images in parts."""
    return (images[start : start + BATCH] for start in range(0, len(images), BATCH))


def right_of_file(path: Path, images: Array, classes: Array) -> Flags:
    """Which answers of one of our files are right, in our runtime."""
    model = load(path)
    return np.concatenate([model.scores(part).argmax(1) for part in batches(images)]) == classes


def right_of_session(path: Path, normalize: Normalize, images: Array, classes: Array) -> Flags:
    """Which answers of an ONNX file are right, in a bare ONNX Runtime."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    logits = np.concatenate([session.run(None, {name: normalize(part)})[0] for part in batches(images)])
    return np.asarray(logits.argmax(1) == classes)


def item_times(paths: dict[str, Path], image: Array) -> dict[str, str]:
    """Milliseconds of one item in each file, and the ratio to the float file of its format."""
    models = {scheme: load(path, threads=1) for scheme, path in paths.items()}
    seconds: dict[str, list[float]] = {scheme: [] for scheme in models}
    for _ in range(ROUNDS):
        for scheme, model in models.items():
            started = time.perf_counter()
            model.scores(image[np.newaxis])
            seconds[scheme].append(time.perf_counter() - started)
    texts = {}
    for scheme, durations in seconds.items():
        base = seconds.get(f"{scheme.split('-')[0]}-float32", durations)
        ratios = [one / other for one, other in zip(durations, base, strict=True)]
        low, high = np.quantile(ratios, [0.25, 0.75])
        texts[scheme] = (
            f"{1000 * statistics.median(durations):.2f} ms, {statistics.median(ratios):.2f} of float "
            f"({low:.2f} to {high:.2f})"
        )
    return texts


def make_ort(source: Path, path: Path, items: Array, *, percentile: bool = False) -> None:
    """ONNX Runtime's static quantization."""
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    name = onnxruntime.InferenceSession(str(source)).get_inputs()[0].name

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.items = iter(items)

        def get_next(self) -> dict[str, Array] | None:
            item = next(self.items, None)
            return None if item is None else {name: item[np.newaxis]}

    prepared = path.with_suffix(".prepared.onnx")
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    options = {"calibrate_method": CalibrationMethod.Percentile} if percentile else {}
    quantize_static(str(prepared), str(path), Reader(), **options)


def make_ort_percentile(source: Path, path: Path, items: Array) -> None:
    """The same with ranges of percentiles, of 200 items: it keeps a histogram of each."""
    make_ort(source, path, items[:200], percentile=True)


BARE: dict[str, Callable[[Path, Path, Array], None]] = {"ort": make_ort, "ort-percentile": make_ort_percentile}


if __name__ == "__main__":
    main()
