"""compress against a search of all strategies and a grid of prunings and widths, on eight models with limits.

    python benchmarks/compression/compress.py --nets /path/to/nets --data /path/to/data --out compress-bench
    python benchmarks/compression/compress.py --nets ... --data ... --out ... --case lenet-20kB --kills 10

A net is a folder with `model.keras`. Limits in "x int8" are shares of what the plain int8 file takes here. The
exhaustive search makes every file of all strategies and of the grid, once for a net and format; its results are kept in
--out, and so are those of compress. For each case it prints

* whether compress found a file within the limits whenever the search has one, and said so when it has none;
* the size (or latency, if that alone is limited) of its file divided by that of the search's best file, by the same
  rule, on the cheapest strategy that has one within the limits, because compress ends there (bound: 1.2); and
  divided by the least of all files within the limits, which a user finds by asking for less;
* the time of all its steps divided by that of the search (bound: 0.1);
* whether the figure on test items that it promised holds when the file is evaluated again, within its interval.

With --kills N, compress is killed N times at random moments and goes on; the file must equal an undisturbed run's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

from edgepress.converters.contract.hints import Hints
from edgepress.toolkit import evaluate
from edgepress.toolkit.data.reading import STRICT
from edgepress.toolkit.search.compression import compress as compressing
from edgepress.toolkit.search.compression import smaller, strategies
from edgepress.toolkit.search.compression.builder import Builder
from edgepress.toolkit.search.compression.measure import Measurer
from edgepress.toolkit.search.compression.options import CompressOptions
from edgepress.toolkit.search.compression.search import StrategySearch
from edgepress.toolkit.search.compression.step_cache import StepCache, Subject
from edgepress.toolkit.search.compression.trial import KINDS, Limits, Trial, best_of
from edgepress.toolkit.search.sweeping.store import Store
from edgepress.toolkit.stats.choice import Rule

SHARES = (0.7, 0.5, 0.35, 0.25, 0.18, 0.12)
"""The grid of prunings: shares of the bytes, and of the MACs; --shares names others."""


class Case(NamedTuple):
    """A model and its limits; a limit is a value with a unit, or a share of the int8 file's: "0.5 x int8"."""

    name: str
    net: str
    data: str
    drop: float
    limits: Mapping[str, str]
    format: str = "tflite"


CASES = (
    Case("lenet-20kB", "lenet-mnist", "mnist", 0.5, {"size": "20kB"}),
    Case("lenet-int4", "lenet-mnist", "mnist", 0.5, {"size": "50kB"}),
    Case("lenet-impossible", "lenet-mnist", "mnist", 0.0, {"size": "7kB"}),
    Case("lenet-memory", "lenet-mnist", "mnist", 0.5, {"memory": "16MB"}),
    Case("lenet-onnx", "lenet-mnist", "mnist", 0.5, {"size": "0.7 x int8"}, "onnx"),
    Case("mobilenet-half", "mobilenet-v2-signs", "signs-64", 1.0, {"latency": "0.5 x int8"}),
    Case("mobilenet-latency", "mobilenet-v2-signs", "signs-64", 1.0, {"latency": "1.2 x int8"}),
    Case("mobilenet-mixed", "mobilenet-v2-signs", "signs-64", 1.0, {"size": "0.7 x int8", "latency": "0.8 x int8"}),
)


class Found(NamedTuple):
    """All files of an exhaustive search, and how long their steps took."""

    trials: list[Trial]
    count: int
    seconds: float


def main() -> int:
    """Print a line for each case; 1 if one misses a bound."""
    arguments = parsed()
    cases = [case for case in CASES if arguments.case in (None, case.name)]
    good = True
    for case in cases:
        if arguments.kills:
            good &= killed(case, arguments)
            continue
        found = searched(case, arguments)
        good &= compared(case, found, arguments)
    return 0 if good else 1


def compared(case: Case, found: Found, arguments: argparse.Namespace) -> bool:
    """Run compress on a case, print its line, and return whether it keeps the bounds."""
    limits = resolved(case, found)
    result = compressing.compress(**options(case, limits, arguments), out=arguments.out / "compress" / case.name)
    document = result.document
    keep = Limits({"drop": case.drop, **limits})
    fit = [t for t in found.trials if t.cost and not t.error and not t.missed(keep)]
    best = best_of([t for t in fit if t.cost == min(each.cost for each in fit)], keep, Rule())
    share = document["seconds"] / found.seconds
    ok = [(result.model is None) == (best is None), share < 0.1]
    words = [f"{case.name}: {keep.in_words()}", f"found {result.model is not None}, exists {best is not None}"]
    if result.model is not None and best is not None:
        name = "latency" if set(limits) == {"latency"} else "size"
        field = KINDS[name].figure
        own = document["trials"][document["best"]][field]
        ratio, least = own / getattr(best, field), own / min(getattr(t, field) for t in fit)
        final, again = document["final"], evaluate(result.model, data=str(data_of(case, arguments)))["accuracy"]
        low, high = (final["float_accuracy"] - final[f"drop_{end}_pp"] / 100 for end in ("high", "low"))
        holds = low - 1e-9 <= again <= high + 1e-9
        ok += [ratio <= 1.2, holds]
        how = document["trials"][document["best"]]["how"]
        words += [f"by {how} ({KINDS[name].show(own)}); the search's by {best.how}"]
        words += [f"{name} {ratio:.2f} of it, {least:.2f} of the least; test figure holds: {holds}"]
    words += [f"time {share:.3f} ({document['seconds']:.0f} s of {found.seconds:.0f} s)", "OK" if all(ok) else "MISSED"]
    print("; ".join(words), flush=True)
    return all(ok)


def searched(case: Case, arguments: argparse.Namespace) -> Found:
    """Every file of all strategies and of the grid for a case's net and format; what was made before is read."""
    path, data = model_of(case, arguments), str(data_of(case, arguments))
    contract, opened = compressing._open(path, data, Hints(), lambda text: None, reading=STRICT)
    format, engine = compressing._engine(case.format, None, Limits.of(0))
    about = {"model": path, "data": data, "hints": Hints(), "opened": opened, "arch": contract.arch}
    options = CompressOptions(max_drop=0, max_memory="1TB")  # so that memory is measured
    subject = Subject(**about, format=format, engine=engine, options=options)
    store = Store(arguments.out / "search")
    cache = StepCache(subject, store, say)
    builder = Builder(cache)
    state = StrategySearch(builder, Measurer(cache), Limits.of(0), Rule(), minutes=1e5, on_trial=lambda t: None)
    state.begin(builder.convert(path, [state.scheme("float32"), state.scheme("int8")])[0])
    for cost, strategy in enumerate(strategies.STRATEGIES, 1):
        if not strategy.trains:
            try_all(state, strategy, cost)
    state.strategy, state.cost = "tune", 6
    for bits in (8, 4):
        tuned = partial(builder.tune, bits)
        state.try_schemes(f"{bits}-bit weights, trained", [state.scheme(f"int{bits}")], tuned)
    both = [state.scheme("int8"), state.scheme("int4")]
    size = next(t.size_bytes for t in state.trials if t.strategy == "int8")
    state.strategy, state.cost = "prune", 7
    for share in arguments.shares:
        for target in ({"max_size": round(share * (size or 0))}, {"macs": share}):
            how = f"pruned, {next(iter(target))} {share:g}"
            state.try_schemes(how, both, partial(builder.prune, **target))
    state.strategy, state.cost = "width", 8
    arch, widths = smaller.family(options.arch)
    for width in widths:
        how = f"{arch} of width {width:g}, distilled"
        state.try_schemes(how, both[:1], partial(builder.distil, arch, width))
    return Found(state.trials, state.count, cache.seconds)


def try_all(state: StrategySearch, strategy: strategies.Strategy, cost: int) -> None:
    """Let a strategy try all its files: no file is the best, because none keeps a limit of nothing."""
    state.limits = Limits({"drop": 0.0, "size": 1.0})
    state.strategy, state.cost = strategy.name, cost
    strategy.apply(state)


def resolved(case: Case, found: Found) -> dict[str, float]:
    """The limits of a case, in the units of `KINDS`."""
    plain = next(t for t in found.trials if t.strategy == "int8")
    values: dict[str, float] = {}
    for name, text in case.limits.items():
        share, times, _ = text.partition(" x ")
        figure = plain.figures[name]
        values[name] = float(share) * (figure or 0) if times else Limits.of(0, **{f"max_{name}": text}).values[name]
    return values


def options(case: Case, limits: Mapping[str, float], arguments: argparse.Namespace) -> dict[str, Any]:
    """Arguments of `compress`."""
    units = {"size": 1.0, "latency": 1e3, "memory": 1.0}
    given = {f"max_{name}": value / units[name] for name, value in limits.items()}
    about = {"model": model_of(case, arguments), "data": str(data_of(case, arguments)), "format": case.format}
    return about | {"max_drop": case.drop, "minutes": 240.0} | given


def killed(case: Case, arguments: argparse.Namespace) -> bool:
    """Kill compress at random moments, let it end, and compare its file with an undisturbed run's."""
    limits = resolved(case, searched(case, arguments)) if any(" x " in v for v in case.limits.values()) else None
    if limits is None:
        limits = {name: Limits.of(0, **{f"max_{name}": v}).values[name] for name, v in case.limits.items()}
    folders = [arguments.out / "kills" / f"{case.name}-{name}" for name in ("whole", "killed")]
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    words = options(case, limits, arguments)
    started = time.monotonic()
    whole = in_process(words, folders[0]).wait()
    took, moments = time.monotonic() - started, random.Random(arguments.seed)
    for number in range(arguments.kills):
        process, wait = in_process(words, folders[1]), moments.uniform(0, 1.8 * took / arguments.kills)
        try:
            process.wait(wait)
            say(f"kill {number + 1}: the run had ended after {wait:.0f} s")
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            say(f"kill {number + 1} after {wait:.0f} s")
    ended = in_process(words, folders[1]).wait()
    hashes = [[hashlib.sha256(p.read_bytes()).hexdigest()[:16] for p in sorted(f.glob("model-*"))] for f in folders]
    same = whole == ended and hashes[0] == hashes[1]
    files = f"undisturbed {hashes[0]}, killed {hashes[1]}"
    print(f"{case.name}: {arguments.kills} kills; {files}; {'the same' if same else 'DIFFERENT'}", flush=True)
    return same


CHILD = """
import json, sys
from pathlib import Path
from edgepress.toolkit.search.compression.compress import compress
words = json.loads(sys.argv[1])
print(compress(Path(words.pop("model")), **words, out=sys.argv[2]).document["why"])
"""


def in_process(words: Mapping[str, Any], out: Path) -> subprocess.Popen[bytes]:
    """Start compress in a process of its own, which can be killed with its children."""
    text = json.dumps({**words, "model": str(words["model"])})
    command = [sys.executable, "-c", CHILD, text, str(out)]
    return subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)


def model_of(case: Case, arguments: argparse.Namespace) -> Path:
    """The source model of a case."""
    return Path(arguments.nets) / case.net / "model.keras"


def data_of(case: Case, arguments: argparse.Namespace) -> Path:
    """The data of a case."""
    return Path(arguments.data) / f"{case.data}.npz"


def say(text: str) -> None:
    """Print a step to standard error."""
    print(f"  {text}", file=sys.stderr, flush=True)


def parsed() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--nets", type=Path, required=True, help="folder of nets")
    parser.add_argument("--data", type=Path, required=True, help="folder of .npz files")
    parser.add_argument("--out", type=Path, required=True, help="folder for all results")
    parser.add_argument("--case", choices=[case.name for case in CASES], help="only this one")
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES, help="the grid of prunings")
    parser.add_argument("--kills", type=int, default=0, help="kill compress so many times instead")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
