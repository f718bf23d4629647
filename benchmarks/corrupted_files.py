"""Corrupted model files: none kills the process that is given one, shows a traceback, or makes it hang.

    python benchmarks/corrupted_files.py [--copies 1000] [--real ../shared/real/models] [--command-line 24] [--keep DIR]

Copies of real files and of files made here - `.tflite`, `.onnx`, `.keras` (one of them deflated), `.h5` - are damaged
in three ways, seeded: bits flipped (half of the time near the beginning, where the structure is), cut off, and spliced
(a piece of another file, or of the same one, in the place of a piece). Each goes to one of the public functions
`inspect`, `convert` and `predict`. They are called as they are, but for one thing: the child process that they
start is kept from one call to the next, because importing TensorFlow a thousand times would be all that is measured.
Some go through the command line itself, in a fresh process. What may happen: an answer, an `EdgepressError`, a child
that dies and is reported. What may not is any other exception, here or in the child, or a call that takes longer than
the limits allow.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np

from edgepress.converters.contract.guess import guess_contract
from edgepress.converters.contract.hints import Facts, Hints
from edgepress.converters.conversion import Conversion
from edgepress.converters.proof.compare import seeded_items
from edgepress.converters.schemes import parse_schemes
from edgepress.converters.worker import ChildDied, Emit, Worker
from edgepress.runtime import load
from edgepress.runtime.errors import EdgepressError
from edgepress.toolkit.conversion import convert
from edgepress.toolkit.inspection import inspect
from edgepress.toolkit.prediction import predict

A = TypeVar("A")

SHARES = {".tflite": 0.4, ".onnx": 0.3, ".keras": 0.15, ".h5": 0.15}
"""Share of each kind among the copies."""
DEFLATED = "deflated.keras"
"""A file whose members are packed: Keras stores them, other programs that write a zip do not."""
SILENCE_S, MEMORY_BYTES = 30.0, 6 << 30
"""Limits of the kept child."""
LIMIT_S = 3 * SILENCE_S
"""Longest time that a call may take: a conversion opens the file once for each format, and makes the files."""


class KeptWorker:
    """A `Worker` that does not end with the call that made it; when its process dies, the next call starts another."""

    alive: Worker | None = None

    def __init__(self, **_: Any) -> None:
        KeptWorker.alive = KeptWorker.alive or Worker(silence_s=SILENCE_S, memory_bytes=MEMORY_BYTES)

    def call(self, function: Callable[[A, Emit], None], argument: A) -> Iterator[Any]:
        """See `Worker.call`."""
        assert KeptWorker.alive is not None
        try:
            yield from KeptWorker.alive.call(function, argument)
        except ChildDied:
            KeptWorker.end()
            raise

    def close(self) -> None:
        """Nothing yet; see `end`."""

    @classmethod
    def end(cls) -> None:
        """End the process."""
        if cls.alive is not None:
            cls.alive.close()
            cls.alive = None


def _run_in_kept(function: Callable[[A, Emit], None], argument: A, **_: Any) -> Iterator[Any]:
    yield from KeptWorker().call(function, argument)


def _keep_children() -> None:
    """Put the kept child in the place of those that the public functions start."""
    importlib.import_module("edgepress.converters.conversion").Worker = KeptWorker  # type: ignore[attr-defined]
    for module in ("edgepress.toolkit.inspection", "edgepress.toolkit.prediction"):
        importlib.import_module(module).run_in_child = _run_in_kept  # type: ignore[attr-defined]


def main() -> None:
    """Damage files, try them, print the counts by outcome; exit with 1 on any violation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=1000)
    parser.add_argument("--real", type=Path, default=Path("../shared/real/models"))
    parser.add_argument("--command-line", type=int, default=24, help="how many of them go through the command line")
    parser.add_argument("--keep", type=Path, help="folder for the copies that broke a rule")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    counts: Counter[str] = Counter()
    violations: list[str] = []
    slowest = 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = _files(args.real, folder)
        print({suffix: len(paths) for suffix, paths in files.items()}, file=sys.stderr)
        _keep_children()
        for i in range(args.copies):
            rng = np.random.default_rng([args.seed, i])
            # Kinds by turns, in their shares, so that any number of copies is spread alike.
            suffix = next(
                s for s, end in zip(SHARES, np.cumsum([*SHARES.values()]), strict=True) if (i * 0.37) % 1 < end
            )
            path = folder / f"copy{suffix}"
            source, damage = _damaged(rng, files, suffix, path)
            verbs = ("inspect", "convert", "predict") if suffix in (".tflite", ".onnx") else ("inspect", "convert")
            verb = verbs[i // 3 % len(verbs)]
            by_command_line = i % max(1, args.copies // max(1, args.command_line)) == 0 and args.command_line > 0
            start = time.perf_counter()
            try:
                outcome = (_by_command_line if by_command_line else _in_process)(verb, path, source, folder)
            except Exception as e:
                outcome = f"VIOLATION {type(e).__name__}"
                violations.append(f"copy {i}, {suffix}, {damage}, {verb}: {type(e).__name__}: {str(e)[-1500:]}")
                KeptWorker.end()
            seconds = time.perf_counter() - start
            slowest = max(slowest, seconds)
            if seconds > LIMIT_S:
                violations.append(f"copy {i}, {suffix}, {damage}, {verb}: {seconds:.0f} s")
            if args.keep and violations and violations[-1].startswith(f"copy {i},"):
                args.keep.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, args.keep / f"{i}-{verb}{suffix}")
            counts[f"{'edgepress ' if by_command_line else ''}{verb} {suffix}: {outcome}"] += 1
            if i % 50 == 49:
                print(f"{i + 1} copies, {len(violations)} violations, slowest {slowest:.1f} s", file=sys.stderr)
        KeptWorker.end()
    for what, count in sorted(counts.items()):
        print(f"{count:5} {what}")
    for text in violations:
        print(f"\n{text}")
    print(json.dumps({"copies": args.copies, "violations": len(violations), "slowest_s": round(slowest, 2)}))
    sys.exit(bool(violations))


def _files(real: Path, folder: Path) -> dict[str, list[Path]]:
    """Real files, if they are there, and files made here, by their kind."""
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = keras.Input((16, 16, 3))
    x = layers.SeparableConv2D(8, 3, activation="relu")(layers.Rescaling(1 / 127.5, offset=-1)(inputs))
    x = layers.BatchNormalization()(layers.Conv2D(8, 3)(x))
    model = keras.Model(inputs, layers.Dense(4, activation="softmax")(layers.GlobalAveragePooling2D()(x)))
    made = folder / "made"
    made.mkdir()
    with contextlib.redirect_stderr(None):
        for name in ("net.keras", "net.h5"):
            model.save(made / name)
    with zipfile.ZipFile(made / "net.keras") as old, zipfile.ZipFile(made / DEFLATED, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.namelist():
            new.writestr(member, old.read(member))
    contract = guess_contract(Facts((16, 16, 3), 4), Hints(task="softmax")).contract
    calibration = partial(list, [seeded_items(contract.input, 16)])
    with Conversion(made / "net.keras") as conversion:
        conversion.run(parse_schemes("all"), contract, calibration=calibration, out=made)
    found: dict[str, list[Path]] = {suffix: [] for suffix in SHARES}
    for path in [*sorted(made.iterdir()), *(sorted(real.rglob("*")) if real.is_dir() else ())]:
        suffix = ".h5" if path.suffix == ".hdf5" else path.suffix
        if suffix in found:
            found[suffix].append(path)
    return found


def _damaged(rng: np.random.Generator, files: dict[str, list[Path]], suffix: str, target: Path) -> tuple[Path, str]:
    """Write a damaged copy of one of the files; which one, and what was done to it."""
    source = files[suffix][rng.integers(len(files[suffix]))]
    every = [path for paths in files.values() for path in paths]
    donor = (source if rng.random() < 0.5 else every[rng.integers(len(every))]).read_bytes()
    if suffix != ".keras" or rng.random() < (0.9 if source.name == DEFLATED else 0.3):
        data, damage = _damage(rng, source.read_bytes(), donor)
        target.write_bytes(data)
        return source, f"{source.name} {damage}"
    # A zip notices by its checksums; so most of the time what is in it is damaged, and packed again. What is deflated
    # is damaged as it is, because unpacking it is what may fail.
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        members = {name: old.read(name) for name in old.namelist()}
        chosen = list(members)[rng.integers(len(members))]
        members[chosen], damage = _damage(rng, members[chosen], donor)
        for name, data in members.items():
            new.writestr(name, data)
    return source, f"{source.name}, in it {chosen}, {damage}"


def _damage(rng: np.random.Generator, whole: bytes, donor: bytes) -> tuple[bytes, str]:
    """Damaged bytes, and how they were damaged."""
    data, kind = bytearray(whole), ("flipped", "flipped", "cut", "spliced")[rng.integers(4)]
    if kind == "flipped":
        count = 2 ** int(rng.integers(0, 7))
        end = len(data) if rng.random() < 0.5 else min(len(data), 4096)
        for place in rng.integers(0, end, count):
            data[place] ^= 1 << int(rng.integers(8))
        return bytes(data), f"{count} bits flipped"
    if kind == "cut":
        size = int(rng.integers(0, len(data)))
        return bytes(data[:size]), f"cut to {size} bytes"
    length = int(min(len(donor), 2 ** rng.integers(2, 16)))
    start, place = int(rng.integers(0, len(donor) - length + 1)), int(rng.integers(0, len(data)))
    overwritten = length if rng.random() < 0.5 else int(rng.integers(0, length))
    data[place : place + overwritten] = donor[start : start + length]
    return bytes(data), f"spliced with {length} bytes at {place}"


def _in_process(verb: str, path: Path, source: Path, folder: Path) -> str:
    """Call the public function and say how it ended; exceptions that are not ours pass."""
    try:
        if verb == "inspect":
            engine = inspect(path).engine
            return "answered" if engine is None or engine.opens else "answered; its engine does not open it"
        if verb == "predict":
            results = predict(path, [_item(source, folder)])
            return "answered" if all(r.error is None for r in results) else "refused the item"
        format = "onnx" if path.suffix == ".onnx" else "tflite"
        variants = convert(path, f"{format}-float32,{format}-dynamic", out=folder / "out")
        if any("process that made it died" in v.error for v in variants):
            return "a child died, contained"
        return "answered" if all(v.path for v in variants) else "scheme refused"
    except EdgepressError as e:
        died = "crashed the process" in str(e) or "process that tried" in str(e)
        return "a child died, contained" if died else f"error of kind {e.kind}"


def _by_command_line(verb: str, path: Path, source: Path, folder: Path) -> str:
    more = {"predict": [str(_item(source, folder))], "inspect": []}
    options = more.get(
        verb, ["--to", f"{'onnx' if path.suffix == '.onnx' else 'tflite'}-float32", "--out", str(folder)]
    )
    arguments = [sys.executable, "-m", "edgepress.toolkit.cli.main", verb, str(path), *options, "--json"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if done.returncode not in (0, 1) or "Traceback" in done.stderr:
        raise RuntimeError(f"exit code {done.returncode}: {done.stderr}")
    json.loads(done.stdout)
    return f"exit code {done.returncode}"


def _item(source: Path, folder: Path) -> Path:
    """An item of the shape that the undamaged file takes."""
    path = folder / f"{source.name}.npy"
    if not path.exists():
        try:
            model = load(source)
            np.save(path, np.zeros(model.shape, np.float32))
        except EdgepressError:  # it answers nobody: any item does
            np.save(path, np.zeros((16, 16, 3), np.uint8))
    return path


if __name__ == "__main__":
    main()
