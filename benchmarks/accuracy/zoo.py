"""The zoo: every model of `keras.applications` and every float model of a folder, converted, loaded and verified.

    python benchmarks/accuracy/zoo.py --out zoo [--real ../shared/real/models] [--models MobileNet,VGG16]
        [--to all] [--retry]

A cell is a model and a scheme. Each model is saved, converted through `edgepress.converters.Conversion` (child
processes), and each file is opened anew by the runtime and compared with the answers of Keras itself (of the file
itself, for foreign files) on 64 seeded images that neither calibration nor the nets' statistics saw. Answers are those
before softmax. What makes the check able to fail: see `zoo_models`, and the spread, which is how much an answer
varies between inputs: an error is compared with that, not with what is the same for every input.

    pass   float32: no error above 1e-4 of the largest answer, and 60 dB below the spread
           others:  the noise is as far below the spread as the scheme's bound asks (8 dB for int8)
    miss   a quantized file that is made and runs, but is noisier than that
    fail   no file, or a float one that is wrong

Results are JSON lines, one a cell, under a key of all that determines it but edgepress itself: a killed run goes on
where it was, and `--retry` repeats what did not pass. Models made here are deleted once converted. What a format can't
give (ONNX from a .tflite file) and files that are refused (quantized already) are listed apart, with the reason.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import numpy.typing as npt

sys.path.append(str(Path(__file__).parents[1] / "shared"))

import zoo_models
from zoo_models import CALIBRATION, PROOF

from edgepress.converters.contract.guess import Guess, guess_contract
from edgepress.converters.contract.hints import Hints, ModelFacts
from edgepress.converters.conversion.conversion import Conversion
from edgepress.converters.options.conversion import MINMAX
from edgepress.converters.proof.compare import seeded_items
from edgepress.converters.schemes import SCHEMES, parse_schemes
from edgepress.converters.sources.open import open_source
from edgepress.converters.variant import Variant
from edgepress.runtime import load
from edgepress.runtime.errors import EdgepressError

Array = npt.NDArray[np.float32]

TO = "tflite-float32,tflite-int8,onnx-float32,onnx-int8"
CALIBRATION_ITEMS, CALIBRATION_BATCH = 100, 20
FLOAT_BOUND, FLOAT_SPREAD_DB = 1e-4, 60.0
SUFFIXES = (".keras", ".h5", ".hdf5", ".tflite", ".onnx")
RANGES = {"gowtham": "0,1", "vww_96": "0,1", "fer2013": "-1,1", "image_example1": "-2,2", "_224_1_default": "-1,1"}
"""Pixel ranges that foreign models want and do not tell, by a part of the file's name."""
KNOWN = {
    "trained_lstm.tflite tflite-int8": "litert-quantizer 0.11 has no LSTM among its operations; no issue was found "
    "upstream (of TensorFlow's converter: tensorflow/tensorflow#25563).",
    "mobilenet_v1_0.25_224_1_default_1.tflite tflite-int8": "Its 8-bit weights: rounded per channel by NumPy in "
    "the float file they leave -7.5 dB, mostly lost in the first three depthwise convolutions, of 8 to 32 channels.",
    **dict.fromkeys(
        (
            f"EfficientNet{n} {format}-int8"
            for n in ("B3", "B4", "B5", "B6", "B7", "V2M", "V2L")
            for format in ("tflite", "onnx")
        ),
        "Eight bits make this noise by themselves, without any converter: `zoo_noise.py`, which only rounds in Keras, "
        "leaves as much, most of it from activations; it grows with depth, from B0 to B7 and from V2S to V2L.",
    ),
}
"""Cells that can't pass, and why."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One result.

    Attributes:
        key: Hash of the model, the scheme, the data and the versions of what converts.
        status: "pass", "miss", "fail", or "refused" for what can't be.
        relative_error: Largest error of an answer as a share of the largest answer.
        sqnr_db: Signal to noise, dB.
        spread_db: Spread between inputs to noise, dB.
        agreement: Share of items with the same top answer.
        other_format_error: Largest difference to the file of the other format.
    """

    key: str
    model: str
    scheme: str
    status: str
    seconds: float = 0.0
    size_bytes: int | None = None
    relative_error: float | None = None
    sqnr_db: float | None = None
    spread_db: float | None = None
    agreement: float | None = None
    other_format_error: float | None = None
    reason: str = ""


def main() -> None:
    """Go through the models, the cheap ones first; print the table; exit with 1 if a cell failed that is not known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("zoo"), help="folder for results and files at work")
    parser.add_argument("--to", default=TO, help="schemes")
    parser.add_argument("--real", type=Path, help="folder of foreign models, searched through")
    parser.add_argument("--models", default="", help="names, separated by commas; all if not given")
    parser.add_argument("--cap-s", type=float, default=900, help="seconds that one cell may take")
    parser.add_argument("--retry", action="store_true", help="repeat the cells that did not pass")
    args = parser.parse_args()
    schemes, wanted = parse_schemes(args.to), [n for n in args.models.split(",") if n]
    args.out.mkdir(parents=True, exist_ok=True)
    log = args.out / "cells.jsonl"
    done = {cell.key: cell for cell in _read(log) if not args.retry or cell.status in ("pass", "refused")}
    table: list[Cell] = []
    with log.open("a") as file:
        for name, path in _models(args.real, wanted):
            keys = {scheme: _key(name, path, scheme) for scheme in schemes}
            missing = [scheme for scheme in schemes if keys[scheme] not in done]
            if missing:
                work = _foreign(path, missing, args) if path else _application(name, missing, args)
                for cell in (Cell(**found, model=name, key=keys[found["scheme"]]) for found in work):
                    done[cell.key] = cell
                    print(json.dumps(asdict(cell)), file=file, flush=True)
            cells = [done[keys[scheme]] for scheme in schemes]
            _show(cells)
            table += cells
    _summary(table)
    sys.exit(any(cell.status == "fail" and f"{cell.model} {cell.scheme}" not in KNOWN for cell in table))


def _models(real: Path | None, wanted: list[str]) -> Iterator[tuple[str, Path | None]]:
    files = [p for p in sorted(real.rglob("*")) if p.suffix in SUFFIXES] if real and real.is_dir() else []
    if not files:
        print(f"no foreign models: {real or '--real not given'}", file=sys.stderr)
    every = [(p.name, p) for p in files] + [(name, None) for name in zoo_models.names()]
    yield from (pair for pair in every if not wanted or pair[0] in wanted)


def _key(name: str, path: Path | None, scheme: str) -> str:
    tools = ("keras", "tensorflow", "tf2onnx", "onnx", "onnxruntime", "litert-quantizer", "ai-edge-litert")
    content = hashlib.sha256(path.read_bytes()).hexdigest() if path else zoo_models.SEED
    facts = [name, content, scheme, CALIBRATION_ITEMS, {tool: metadata.version(tool) for tool in tools}]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _read(log: Path) -> Iterable[Cell]:
    lines = log.read_text().splitlines() if log.exists() else []
    for line in lines:
        try:
            yield Cell(**json.loads(line))
        except (ValueError, TypeError):
            print(f"left out a line of {log} that is no cell: {line[:60]}", file=sys.stderr)


def _application(name: str, schemes: list[str], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Make, save and convert a model of `keras.applications`."""
    path = args.out / f"{name}.keras"
    # In a process of its own, because TensorFlow keeps gigabytes that the conversion needs.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        guess, truth = pool.submit(_saved, name, path).result()
    try:
        return _cells(path, guess, truth, schemes, args)
    finally:
        path.unlink()


def _saved(name: str, path: Path) -> tuple[Guess, Array]:
    """Save a model of `keras.applications`; what its files shall say of themselves, and its own answers."""
    size = zoo_models.smallest_input(name)
    model = zoo_models.build(name, size)
    model.save(path)
    guess = guess_contract(ModelFacts((size, size, 3), int(model.output_shape[1])), Hints(task="multilabel"))
    return guess, zoo_models.answers(model, seeded_items(guess.contract.input, seed=PROOF))


def _foreign(path: Path, schemes: list[str], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Convert a file that others made; one that is refused has the reason in all its cells."""
    suffixed = {".tflite": "tflite", ".onnx": "onnx"}.get(path.suffix)
    possible = [s for s in schemes if suffixed in (None, SCHEMES[s].format)]
    refused = [_refused(s, f"{path.suffix} files give no {SCHEMES[s].format}") for s in schemes if s not in possible]
    try:
        with Conversion(path) as conversion:
            facts = conversion.facts
        wanted = next((r for part, r in RANGES.items() if part in path.name), None)
        guess = guess_contract(facts, Hints(task="multilabel", input_range=wanted))
        items = guess.adapter.apply(seeded_items(guess.contract.input, seed=PROOF))
        truth = open_source(path).answer(items)
    except EdgepressError as e:
        return refused + [_refused(s, str(e)) for s in possible]
    return refused + _cells(path, guess, truth, possible, args)


def _refused(scheme: str, reason: str) -> dict[str, Any]:
    return {"scheme": scheme, "status": "refused", "reason": reason}


def _cells(
    path: Path, guess: Guess, truth: Array, schemes: list[str], args: argparse.Namespace
) -> list[dict[str, Any]]:
    """Convert one model; the outputs are called multilabel so that the runtime gives them as they are."""
    spec, cells = guess.contract.input, []
    calibration = seeded_items(spec, CALIBRATION_ITEMS, seed=CALIBRATION)
    batches = [calibration[i : i + CALIBRATION_BATCH] for i in range(0, CALIBRATION_ITEMS, CALIBRATION_BATCH)]
    items = seeded_items(spec, seed=PROOF)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=args.out) as folder:
        try:
            with Conversion(path, silence_s=args.cap_s) as conversion:
                variants = conversion.run(
                    schemes,
                    guess.contract,
                    adapter=guess.adapter,
                    calibration=partial(list, batches),
                    out=folder,
                    proof=items,
                    how=replace(MINMAX, verify=False),
                )
        except (EdgepressError, RuntimeError) as e:
            seconds = round(time.perf_counter() - start, 1)
            return [{"scheme": s, "status": "fail", "seconds": seconds, "reason": str(e)} for s in schemes]
        for variant in variants:
            cells.append(
                {"scheme": variant.scheme, "seconds": round(variant.seconds, 1)} | _judge(variant, items, truth)
            )
    return cells


def _judge(variant: Variant, items: npt.NDArray[Any], truth: Array) -> dict[str, Any]:
    """Open a file anew and hold its answers against its parent's."""
    if variant.path is None:
        return {"status": "fail", "reason": variant.error}
    scheme, scores = SCHEMES[variant.scheme], load(variant.path).scores(items)
    error = (scores.astype(np.float64) - truth).ravel()
    centred = (truth - truth.mean(0)).ravel()
    noise = float(error @ error)
    sqnr, spread = (_db(float(np.square(signal, dtype=np.float64).sum()), noise) for signal in (truth, centred))
    relative = float(np.abs(error).max() / np.abs(truth).max())
    found: dict[str, Any] = {
        "size_bytes": variant.size_bytes,
        "relative_error": relative,
        "sqnr_db": sqnr,
        "spread_db": spread,
        "agreement": float(np.mean(scores.argmax(1) == truth.argmax(1))),
        "other_format_error": variant.other_format_error,
    }
    if scheme.precision == "float32":
        if relative > FLOAT_BOUND or spread < FLOAT_SPREAD_DB:
            reason = f"float answers differ by {relative:.1e} of the largest, {spread:.0f} dB below the spread"
            return found | {"status": "fail", "reason": reason}
    elif not spread >= scheme.min_sqnr_db:
        reason = f"noise {spread:.1f} dB below the spread; {scheme.name} must reach {scheme.min_sqnr_db:g}"
        return found | {"status": "miss", "reason": reason}
    return found | {"status": "pass"}


def _db(signal: float, noise: float) -> float:
    """Ratio in dB, within +-200 so that it can be written as JSON."""
    return round(min(200.0, max(-200.0, 10 * math.log10((signal or 1e-30) / (noise or 1e-30)))), 2)


def _show(cells: list[Cell]) -> None:
    def short(cell: Cell) -> str:
        if cell.relative_error is None:
            return f"{cell.status:>7} {'':27}"
        measure = f"{cell.relative_error:.0e}" if cell.scheme.endswith("float32") else f"{cell.agreement:.0%}"
        return f"{cell.status:>7} {measure:>6} {cell.spread_db:6.1f} dB {cell.seconds:6.1f} s "

    print(f"{cells[0].model:32}" + "|".join(map(short, cells)), flush=True)


def _summary(table: list[Cell]) -> None:
    print("\nIn a cell: float, largest error / largest answer; others, top-1 agreement; spread / noise; time.")
    for status in ("fail", "miss", "refused"):
        for cell in (c for c in table if c.status == status and "files give no" not in c.reason):
            why = KNOWN.get(f"{cell.model} {cell.scheme}", "")
            print(f"{status:8}{cell.model} {cell.scheme}: {' '.join(cell.reason.split())[:400]} {why}".rstrip())
    judged = [cell for cell in table if cell.status != "refused"]
    counts = {s: sum(c.status == s for c in table) for s in ("pass", "miss", "fail", "refused")}
    share = counts["pass"] / max(1, len(judged))
    print(json.dumps({"share_passing": round(share, 4), **counts, "models": len({c.model for c in table})}))


if __name__ == "__main__":
    main()
