"""Do rewritten TFLite files answer the same on other releases of LiteRT, and on emulated ARM boards?

    python benchmarks/speed/rewrite_engines.py --out CACHE [--engines litert-1.2.0,pi3]
        [--models ConvNeXt,lenet] [--items 8]

Files come from the cache of `rewrites.py`, of small nets (`rewrite_nets.SMALL`) and of our nine architectures; what is
missing is made first. Engines are environments in the cache, made by pip, and Debian's ARM Python in qemu's user-mode
emulation (`tests/support/arm/arm_python.sh`). Each answers a few test items through our runtime.

A line is a net, a scheme and an engine. For the file without rewrites and the one with: the largest difference of an
answer from LiteRT's of this environment, in steps as the self-test counts them (`edgepress.runtime.selftest`);
items with the same top label; signal to noise, dB, where the signal are Keras' answers. Kept: the difference is within
the steps that the scheme allows between machines (`Scheme.selftest_steps`), or, where kernels round so differently that
the file without rewrites is not, the differences' root mean square is no larger than its; and the file loses at most
0.3 dB more by the engine than the one without rewrites does (differences beyond 80 dB do not count). What rewrites cost
on LiteRT itself is judged by `rewrites.py`, on more items.
Exits with 1 if something was not kept, or a file that runs without rewrites does not run with them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.append(str(Path(__file__).parents[1] / "shared"))

from rewrite_nets import REAL, Net, nets
from rewrite_timing import file_hash, key_of, sqnr_db
from rewrites import BEYOND_DB, LOSS_DB, files_of, make

from edgepress.converters.schemes import SCHEMES
from edgepress.toolkit.data.for_model import contract_of

TOP = Path(__file__).resolve().parents[2]
ARM = TOP / "tests" / "support" / "arm" / "arm_python.sh"
SCHEME_NAMES = ["tflite-float32", "tflite-float16", "tflite-dynamic", "tflite-int8"]
ITEMS = 8
WORSE = 1.1
"""Factor by which the root mean square of few differences may exceed that without rewrites."""
SILENCE_S = 1800
RUNNER = """
import json, sys
import numpy as np
from edgepress.runtime import load
engine, items = sys.argv[1], np.load(sys.argv[2])
for path, out in json.loads(sys.argv[3]):
    try:
        np.save(out, load(path, engine).scores(items))
    except Exception as e:
        print(f"{path}: {type(e).__name__}: {e}", file=sys.stderr, flush=True)
        np.save(out, np.zeros(0, np.float32))
"""


@dataclass(frozen=True)
class Place:
    """Where files are run.

    Attributes:
        engine: The runtime's name of the engine.
        requirements: What pip installs.
        arch: Debian's name of an emulated architecture; "" for this machine.
        cpu: qemu's name of the emulated CPU.
    """

    engine: str
    requirements: tuple[str, ...]
    arch: str = ""
    cpu: str = ""


LITERT, NUMPY = "ai-edge-litert==2.3.0", "numpy"
PLACES = {
    "litert-2.3.0": Place("litert", ()),
    **{f"litert-{v}": Place("litert", (f"ai-edge-litert=={v}",)) for v in ("1.2.0", "1.4.0", "2.1.0")},
    "tflite-runtime": Place("tflite-runtime", ("tflite-runtime==2.14.0", "numpy<2")),
    "pi3": Place("litert", (NUMPY, LITERT), "arm64", "cortex-a53"),
    "pi4": Place("litert", (NUMPY, LITERT), "arm64", "cortex-a72"),
    "pi5": Place("litert", (NUMPY, LITERT), "arm64", "cortex-a76"),
    "armv7": Place("tflite-runtime", ("tflite-runtime",), "armhf", "cortex-a7"),
}
REFERENCE = next(iter(PLACES))


def main() -> None:
    """Answer everywhere, compare, print; exit with 1 if something was not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the cache")
    parser.add_argument("--real", type=Path, default=REAL, help="folder of real data")
    parser.add_argument("--models", default="", help="words that the names of the wanted nets hold")
    parser.add_argument("--engines", default=",".join(PLACES), help="where files are run")
    parser.add_argument("--items", type=int, default=ITEMS)
    args = parser.parse_args()
    wanted = [w for w in args.models.split(",") if w]
    chosen = list(nets(args.out, wanted, real=args.real, small=True))
    places = dict.fromkeys([REFERENCE, *args.engines.split(",")])
    broken = lines = 0
    print(f"{'net':20}{'scheme':16}{'engine':16}{'steps: before, after':>24}{'labels':>10}{'dB: before, after':>22}")
    for net in chosen:
        make(net, SCHEME_NAMES)
        files = files_of(net, SCHEME_NAMES)
        items = {name: values[: args.items] for name, values in net.items().items()}
        found = {place: answers(place, list(files.values()), items["test"], args.out) for place in places}
        for line, kept in compared(net, files, found, items["truth"]):
            print(line, flush=True)
            broken, lines = broken + (not kept), lines + 1
    print(json.dumps({"lines": lines, "not_kept": broken, "items": args.items, "engines": list(places)}))
    sys.exit(bool(broken))


def compared(
    net: Net, files: dict[str, Path], found: dict[str, dict[Path, Any]], truth: npt.NDArray[np.float32]
) -> Iterator[tuple[str, bool]]:
    """A line for each scheme and engine, and whether what was asked was kept."""
    for scheme in SCHEME_NAMES:
        pair = [files[f"{scheme} {side}"] for side in ("before", "after") if f"{scheme} {side}" in files]
        for place in found if pair else ():
            there, here = ([found[at][path] for path in pair] for at in (place, REFERENCE))
            start = f"{net.name:20}{scheme:16}{place:16}"
            if any(len(scores) == 0 for scores in (*there, *here)):
                runs = [("runs" if len(scores) else "DOES NOT RUN") for scores in there]
                kept = len(there[1]) > 0 or len(there[0]) == 0
                yield f"{start}{runs[0]}, {runs[1]}{'' if kept else '   NOT KEPT'}", kept
                continue
            off = [np.abs(a - b) / _steps(p, b) for p, a, b in zip(pair, there, here, strict=True)]
            steps, means = ([float(f(part)) for part in off] for f in (np.max, _root_mean_square))
            labels = [int((a.argmax(1) == b.argmax(1)).sum()) for a, b in zip(there, here, strict=True)]
            noise, own = ([sqnr_db(scores, truth) for scores in side] for side in (there, here))
            lost = [min(a, BEYOND_DB) - min(b, BEYOND_DB) for a, b in zip(own, noise, strict=True)]
            near = steps[1] <= SCHEMES[scheme].selftest_steps or means[1] <= means[0] * WORSE
            kept = near and lost[1] <= max(0.0, lost[0]) + LOSS_DB
            line = f"{steps[0]:12.3f}{steps[1]:12.3f}{labels[1]:7}/{len(truth)}{noise[0]:12.1f}{noise[1]:10.1f}"
            yield f"{start}{line}{'' if kept else '   NOT KEPT'}", kept


def answers(place: str, paths: list[Path], items: npt.NDArray[Any], cache: Path) -> dict[Path, Any]:
    """Each file's answers somewhere, float32, shape (N, C), of length 0 if it does not run; kept in the cache."""
    folder = cache / "answers"
    folder.mkdir(parents=True, exist_ok=True)
    content = key_of(items.tobytes().hex(), items.shape)
    outs = {p: folder / f"{place}-{key_of(file_hash(p), content, PLACES[place].requirements)}.npy" for p in paths}
    shown = folder / f"items-{content}.npy"
    np.save(shown, items)
    while left := {outs[p]: p for p in paths if not outs[p].exists()}:
        job = json.dumps([(str(path.resolve()), str(out.resolve())) for out, path in left.items()])
        command = [*_python(place, cache), "-c", RUNNER, PLACES[place].engine, str(shown.resolve()), job]
        done = subprocess.run(
            command, env=_environment(place), stderr=subprocess.PIPE, text=True, timeout=SILENCE_S, check=False
        )
        made = [path for out, path in left.items() if out.exists()]
        print(*[line for line in done.stderr.splitlines() if "Error" in line], sep="\n", end="", file=sys.stderr)
        if len(made) < len(left) and done.returncode:  # the process died of the first file that has no answers
            out, path = next((out, path) for out, path in left.items() if not out.exists())
            print(f"{place}: {path}: exit code {done.returncode}: {done.stderr[-300:]}", file=sys.stderr)
            np.save(out, np.zeros(0, np.float32))
    return {path: np.load(out) for path, out in outs.items()}


def _python(place: str, cache: Path) -> list[str]:
    """The command that is a Python with an engine, whose environment is made where it is missing."""
    row = PLACES[place]
    if row.arch:
        return [str(ARM)]
    if not row.requirements:
        return [sys.executable]
    folder = cache / "venvs" / place
    if not (folder / "bin" / "python").exists():
        subprocess.run(["python3.11", "-m", "venv", "--without-pip", str(folder)], check=True)
        pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"]
        subprocess.run([*pip, "--disable-pip-version-check", *row.requirements], check=True)
    return [str(folder / "bin" / "python")]


def _environment(place: str) -> dict[str, str]:
    """The environment variables of a process somewhere: where edgepress is, and what the emulator needs."""
    row = PLACES[place]
    emulated = {"ARM_ARCH": row.arch, "ARM_CPU": row.cpu, "ARM_WHEELS": " ".join(row.requirements)}
    own = {"PYTHONPATH": str(TOP / ".types"), "PYTHON": sys.executable}
    return os.environ | own | (emulated if row.arch else {})


def _root_mean_square(values: npt.NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def _steps(path: Path, scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The step of each answer, as the self-test counts them (`edgepress.runtime.selftest`)."""
    test = contract_of(path).selftest
    step, logit_step = (test.step, test.logit_step) if test else (0.0, 0.0)
    steps: npt.NDArray[np.float32] = 2 * scores * (1 - scores) * logit_step
    return np.maximum(step or max(float(np.ptp(scores)), 1e-6) / 256, steps)


if __name__ == "__main__":
    main()
