"""Size, latency and answers of nets as WebAssembly (`export --to wasm`), beside engines for browsers from npm.

    python benchmarks/microcontrollers/wasm.py FILE.tflite [FILE.tflite ...] [--items 400] [--packages NAME,...]

Files: those of `c99_nets.py`. Needs the extras browser and micro, and Node.js; the second table also npm, which fetches
the packages. Items are test images of digits where a file takes their shape, and as many random ones. The columns on
answers count items whose answer, and in parentheses whose label, is another one than that of the exact model of the
exported C, of TFLM, of LiteRT's reference kernels and of XNNPACK's.
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))
from running_wasm import litert_answers, run_stored

PACKAGES = "@litertjs/core,onnxruntime-web"
_TIME = """
const model = await (await import(process.argv[1])).load(), times = [];
const { input } = (await import(process.argv[1])).about, item = new Uint8Array(input.numbers).fill(9);
for (let i = 0; i < 60; i++) {
  const begin = performance.now();
  model.run(item);
  times.push(performance.now() - begin);
}
console.log(times.sort((a, b) => a - b)[30]);
"""


def items_for(shape: list[int], count: int) -> npt.NDArray[np.uint8]:
    """Test images of digits and random ones, half of each where the shape is theirs."""
    from edgepress.toolkit.data import open_data

    items = np.random.default_rng(0).integers(0, 256, (count, *shape)).astype(np.uint8)
    if shape == [28, 28, 1]:
        test = open_data("digits").test
        half = min(count // 2, len(test))
        items[:half] = test.read(slice(0, half))
    return items


def tflm_answers(file: Path, items: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """TFLM's answers, as the file stores them."""
    from edgepress.runtime.engines import import_engine
    from edgepress.toolkit.shipping.exporting.vectors import TflmSession

    session = TflmSession(file, import_engine("tflite-micro"), 1)
    return np.stack([session.stored_answers(item[np.newaxis]).ravel() for item in items])


def measure_file(file: Path, folder: Path, count: int) -> str:
    """A row of the first table."""
    from edgepress.converters.to_c.lowering import lower
    from edgepress.toolkit import export

    made = export(file, "wasm", out=folder / file.stem)
    takes = made.report["wasm"]
    module = made.folder / "model.mjs"
    about = json.loads(module.read_text().split("const about = ")[1].split(";\n")[0])
    items = items_for(about["input"]["shape"], count).view(about["input"]["stored"])
    program = lower(file)
    found = run_stored(made.folder, items, program.output.dtype)
    others = [program.answers(items).reshape(count, -1), tflm_answers(file, items)]
    others += [litert_answers(file, items, kernels) for kernels in ("BUILTIN_REF", "AUTO")]
    differ = [
        f"{(found != other).any(axis=1).sum()} ({(found.argmax(1) != other.argmax(1)).sum()})" for other in others
    ]
    command = ["node", "--input-type=module", "-e", _TIME, module.resolve().as_uri()]
    ms = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    sizes = " | ".join(f"{takes[name] / 1e3:.1f}" for name in ("bytes", "gzip", "page"))
    return f"| {file.stem} | {sizes} | {ms:.2f} | {' | '.join(differ)} | {count} |"


def measure_package(name: str, folder: Path) -> str:
    """A row of the second table: the smallest module of a package, which needs the model beside it."""
    command = ["npm", "pack", "--json", "--pack-destination", str(folder), name]
    packed: list[dict[str, Any]] = json.loads(
        subprocess.run(command, capture_output=True, text=True, check=True, timeout=600).stdout
    )
    with tarfile.open(folder / packed[0]["filename"]) as archive:
        modules = [each for each in archive.getmembers() if each.name.endswith(".wasm")]
        least = min(modules, key=lambda each: each.size)
        content = archive.extractfile(least)
        assert content is not None
        zipped = len(gzip.compress(content.read(), 9))
    module = Path(least.name).name
    return f"| {name} {packed[0]['version']} | {module} | {least.size / 1e3:.1f} | {zipped / 1e3:.1f} |"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--items", type=int, default=400)
    parser.add_argument("--packages", default=PACKAGES)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        print(
            "| net | .wasm, kB | gzipped | page | ms in Node.js | C | TFLM | LiteRT, reference | LiteRT, XNNPACK | of |"
        )
        print(f"|---|{'--:|' * 9}")
        for file in args.files:
            print(measure_file(file, Path(name), args.items), flush=True)
        print("\n| package | smallest module | kB | gzipped |\n|---|---|--:|--:|")
        for package in filter(None, args.packages.split(",")):
            print(measure_package(package, Path(name)), flush=True)


if __name__ == "__main__":
    main()
