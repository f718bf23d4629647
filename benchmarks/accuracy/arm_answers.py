"""What converted files answer on emulated ARM boards, beside what they answer here: tables for documents.

    python benchmarks/accuracy/arm_answers.py edgepress-demo/variants [--boards pi64-py311,pi64-py313,pi32-py311]

Each file is bundled, and its bundle proves itself and answers the test images in Debian's ARM Python with the pinned
packages (`tests/support/arm/arm_python.sh`). Columns: the self-test; the largest difference of a score from this
machine's, in steps of the output (1/256 where it is not quantized); images that differ by more than one step; scores
that differ at all by half a step; images with another top label; both accuracies. "built-in" is the largest
difference, in the same steps, from LiteRT on this machine without XNNPACK, that is by the built-in kernels, which
tflite-runtime uses for int8. Limits: numbers are what a board would give, as far as qemu computes like it; times are
not measured.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.runtime import load
from edgepress.toolkit.data import open_data
from edgepress.toolkit.data.for_model import contract_of
from edgepress.toolkit.shipping.bundles.boards import BOARDS
from edgepress.toolkit.shipping.bundles.build import bundle

ARM = Path(__file__).resolve().parents[2] / "tests" / "support" / "arm"
HEADS = ("scheme", "engine", "selftest", "steps", ">1 step", "differ %", "labels", "here %", "there %", "built-in")


def built_in_scores(path: Path, x: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """A TFLite file's answers by LiteRT's built-in kernels, without XNNPACK; float32 (N, labels)."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(str(path), num_threads=1, experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    taken, given = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scores = []
    for item in x:
        interpreter.set_tensor(taken["index"], item[np.newaxis].astype(taken["dtype"]))
        interpreter.invoke()
        scores.append(interpreter.get_tensor(given["index"])[0].astype(np.float32))
    scale, zero = given["quantization"]
    return (np.stack(scores) - zero) * np.float32(scale) if scale else np.stack(scores)


def answers(board: str, folders: list[Path], items: Path, out: Path) -> dict[str, dict[str, Any]]:
    """Self-tests by bundle on a board; its scores are OUT/NAME.npy."""
    row, requirements = BOARDS[board], folders[0] / f"requirements-{board}.txt"
    arch = {"aarch64": "arm64", "armv7l": "armhf"}[row.machine]
    settings = {"ARM_ARCH": arch, "ARM_PYTHON": row.python, "ARM_WHEELS": f"-r {requirements}"}
    environment = os.environ | settings | {"PYTHON": sys.executable, "PYTHONPATH": str(folders[0])}
    command = [ARM / "arm_python.sh", ARM / "answers.py", items, out, *folders]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return {r["name"]: r for r in map(json.loads, done.stdout.splitlines())}


def main() -> None:
    """Print a table for each board and format."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="converted files")
    parser.add_argument("--boards", default="pi64-py311,pi64-py313,pi32-py311")
    args = parser.parse_args()
    files = {contract_of(f).scheme: f for f in sorted(args.folder.glob("*.*")) if f.suffix in (".tflite", ".onnx")}
    contract = contract_of(next(iter(files.values())))
    assert contract.data is not None
    test = open_data(contract.data.source).test
    x = test.read(slice(None))
    with tempfile.TemporaryDirectory() as temporary:
        top = Path(temporary)
        np.save(top / "items.npy", x)
        for scheme, file in files.items():
            with zipfile.ZipFile(bundle(file, top / f"{scheme}.zip", name="app", samples=4).path) as archive:
                archive.extractall(top / scheme)
        for board in args.boards.split(","):
            for format in BOARDS[board].engines:
                chosen = {s: f for s, f in files.items() if s.startswith(format)}
                reports = answers(board, [top / s / "app" for s in chosen], top / "items.npy", top)
                about = next(iter(reports.values()))
                print(f"\n{board}: Python {about['python']}, {about['machine']}, {len(x)} images")
                print("{:16}{:16}{:>9}{:>8}{:>9}{:>10}{:>8}{:>8}{:>9}{:>10}".format(*HEADS))
                for scheme, file in chosen.items():
                    here, there = load(file).scores(x), np.load(top / f"{scheme}.npy")
                    selftest = contract_of(file).selftest
                    step = (selftest.step if selftest else None) or 1 / 256
                    off = np.abs(here - there)
                    right = [100 * float((s.argmax(axis=1) == test.y).mean()) for s in (here, there)]
                    labels = int((here.argmax(axis=1) != there.argmax(axis=1)).sum())
                    beyond, differ = int((off.max(axis=1) > 1.001 * step).sum()), 100 * (off > step / 2).mean()
                    built_in = "-"
                    if format == "tflite":
                        built_in = f"{np.abs(built_in_scores(file, x) - there).max() / step:.2f}"
                    print(
                        f"{scheme:16}{reports[scheme]['engine']:16}"
                        f"{'passes' if reports[scheme]['passed'] else 'FAILS':>9}{off.max() / step:8.2f}"
                        f"{beyond:9}{differ:10.2f}{labels:8}{right[0]:8.2f}{right[1]:9.2f}{built_in:>10}"
                    )


if __name__ == "__main__":
    main()
