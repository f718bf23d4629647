"""Convert ONNX models to TFLite and TFLite files to ONNX: what is verified, and how near int8 stays in either format.

    python benchmarks/accuracy/onnx_sources.py --models ../shared/real/models

MNIST-8 (`onnx/mnist-8.onnx` in that folder) and the three classifiers of `onnx_models.py` become all nine schemes;
every float `.tflite` file in the folder becomes all ONNX schemes. A row is one file, with the figures of its
verification on items that were not calibrated on; then the int8 files of both formats beside the ONNX model, on all
items. The exit code is 1 if a file of an ONNX model was not made.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx_models import CLASSIFIERS, images

from edgepress.converters.proof.compare import seeded_items
from edgepress.converters.variant import Variant
from edgepress.runtime import load
from edgepress.runtime.errors import EdgepressError
from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.conversion.convert import Hints, convert

ITEMS = 256
MNIST = Path("onnx", "mnist-8.onnx")
NINE = 9


def seeded_data(path: Path, spec: InputSpec) -> Path:
    """An `.npz` of seeded items without labels that mean anything."""
    items = images(spec, ITEMS) if spec.is_image else seeded_items(spec, ITEMS)
    np.savez(path, x=items, y=np.arange(len(items)) % 2)
    return path


def input_of(path: Path) -> InputSpec:
    """An image if an item has three axes, the last of one or three channels; else a tensor."""
    from ai_edge_litert.interpreter import Interpreter

    shape = tuple(map(int, Interpreter(str(path)).get_input_details()[0]["shape"][1:]))
    if len(shape) == 3 and shape[2] in (1, 3):
        return InputSpec.image(shape[0], shape[1], "grey" if shape[2] == 1 else "rgb")
    return InputSpec(shape=shape, dtype="float32")


def printed(name: str, variants: list[Variant]) -> int:
    """Print a row for each variant and return how many were made."""
    for variant in variants:
        found = variant.verification
        row = f"{name:24} {variant.scheme:15} "
        if found is None:
            print(f"{row} {variant.error}")
        else:
            unknown = "saturated" if found.saturated else "exact"
            noise = unknown if found.sqnr_db is None else f"{found.sqnr_db:.1f} dB"
            size, seconds = f"{variant.size_bytes:9} bytes", f"{variant.seconds:6.1f} s"
            print(f"{row} {100 * (found.agreement or 0):6.1f} % {noise:>9} {size} {seconds}")
    return sum(variant.path is not None for variant in variants)


def int8_beside_parent(name: str, variants: list[Variant], items: np.ndarray) -> None:
    """Print how often the int8 files of both formats give the label of the float ONNX model, and of each other."""
    made = {v.scheme: v.path for v in variants if v.path is not None}
    names = ("onnx-float32", "tflite-int8", "onnx-int8")
    if not {*names} <= made.keys():
        return
    parent, tflite, onnx_ = (load(made[scheme]).scores(items).argmax(1) for scheme in names)
    shares = [f"{100 * (a == b).mean():.1f} %" for a, b in ((tflite, parent), (onnx_, parent), (tflite, onnx_))]
    print(f"{name:24} int8, {len(items)} items: tflite {shares[0]}, onnx {shares[1]}, one another {shares[2]}")


def main() -> int:
    """Print the tables and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, help="folder with published models; without it, only our own")
    args = parser.parse_args()
    missing = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = {n: (folder / f"{n}.onnx", InputSpec.image(64, 64, "rgb"), "0,1") for n in CLASSIFIERS}
        for title, make in CLASSIFIERS.items():
            onnx.save(make(), sources[title][0])
        if args.models and (args.models / MNIST).exists():
            sources["mnist-8"] = (args.models / MNIST, InputSpec.image(28, 28, "grey"), "0,255")
        for title, (path, spec, values) in sources.items():
            data = seeded_data(folder / f"{title}.npz", spec)
            hints = Hints(input_range=values, color=spec.color)
            variants = convert(path, "all", data=str(data), out=folder / title, hints=hints, on_note=say)
            missing += NINE - printed(title, variants)
            int8_beside_parent(title, variants, np.load(data)["x"])
        for path in sorted(args.models.rglob("*.tflite")) if args.models else ():
            title = path.stem[:24]
            try:
                data = seeded_data(folder / "items.npz", input_of(path))
                printed(title, convert(path, "onnx", data=str(data), out=folder / path.stem, on_note=say))
            except EdgepressError as e:
                print(f"{title:24} refused: {e.message.replace(str(path), 'it')[:100]}")
    return int(missing > 0)


def say(text: str) -> None:
    """Print a note of `convert`."""
    print(f"# {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
