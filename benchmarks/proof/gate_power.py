"""How often a gate of `edgepress compare` fires, on synthetic results of known truth: falsely, and rightly.

    python benchmarks/proof/gate_power.py                   a few minutes; the last line is one JSON document
    python benchmarks/proof/gate_power.py --runs a b c d  the same files benchmarked again: every alarm is false

Of every kind of comparison, the truth is set below the limit, at it and beyond it. Up to the limit an alarm is false,
and at most 5 % may be; beyond it, the share of alarms is the gate's power. Machines in two runs differ in speed by a
factor drawn for every run; what does not cancel against a baseline (`RESIDUAL`) is drawn, too, as large as it was seen.
With `--runs`, results of the same files are compared two by two, which tells how large that is on a real machine.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgepress.toolkit.measurement.comparison.compare import compare_results
from edgepress.toolkit.measurement.comparison.gates import FAILED, OPEN, parse_gate
from edgepress.toolkit.measurement.comparison.judging import Comparison, judge
from edgepress.toolkit.measurement.comparison.match import match_models
from edgepress.toolkit.results.file import load_benchmark
from edgepress.toolkit.results.records import Advice, Benchmark, Measurement

ROUNDS, CALLS = 20, 50
RUN_SPEED, ROUND_SPEED, CALL_SPREAD = 0.15, 0.03, 0.08
"""Standard deviations of the logarithm of latency: between runs, between rounds, between calls."""
RESIDUAL = {"litert": 0.005, "onnxruntime": 0.03}
"""Of what a run does to a file and not to a baseline on LiteRT, by the file's engine."""
TRUTHS = (1.0, 1.1, 1.2, 1.35, 2.0)
WORST = 0.05
"""Largest share of false alarms that is allowed."""


def main() -> None:
    """Print a table and one JSON document; exit with 1 if a gate fires falsely too often."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--runs", nargs="+", default=[])
    options = parser.parse_args()
    if options.runs:
        print(json.dumps(real_runs(options.runs)))
        return
    rows = [*drops(options.trials), *latencies(options.trials)]
    for row in rows:
        print(
            f"{row['comparison']:42} {row['gate']:14} truth {row['truth']:<6} fired {row['fired']:6.1%}"
            f"  not established {row['open']:6.1%}  {'FALSE' if row['false'] else ''}",
            file=sys.stderr,
        )
    worst = max(row["fired"] for row in rows if row["false"])
    print(json.dumps({"trials": options.trials, "worst_false_share": worst, "rows": rows}))
    sys.exit(worst > WORST)


def drops(trials: int) -> Iterator[dict[str, object]]:
    """Accuracy: few and many items that change sides, paired, and the same without knowing which items were right."""
    for count, changing, paired in ((360, 0.01, True), (2000, 0.02, True), (10000, 0.02, True), (2000, 0.02, False)):
        for truth in (0.0, 0.5, 1.0, 2.0):
            random = np.random.default_rng(count + round(10 * truth))
            found = []
            for _ in range(trials):
                chances = [0.03, changing, changing + truth / 100]  # wrong in both, right only in NEW, only in OLD
                wrong, gained, lost = random.multinomial(count, [*chances, 1 - sum(chances)])[:3]
                old, new = np.ones(count, bool), np.ones(count, bool)
                old[: wrong + gained] = False
                new[:wrong] = new[count - lost :] = False
                sides = [result([row("litert", right=side, keep=paired)], count) for side in (old, new)]
                found.append(compare_results(*sides, [parse_gate("drop>0.5")]))
            name = f"accuracy, {count} items, {'paired' if paired else 'unpaired'}, {changing:.0%} gained"
            yield shares(name, "drop>0.5", truth, truth <= 0.5, found)


def latencies(trials: int) -> Iterator[dict[str, object]]:
    """Latency in one run; in two against a baseline on the same engine, on another one, and without a baseline."""
    for truth in TRUTHS:
        random = np.random.default_rng(round(100 * truth))
        found = []
        for _ in range(trials):
            rounds = 60 * np.exp(random.normal(0, ROUND_SPEED, ROUNDS))
            files = [timed(random, "litert", rounds * f, file=name) for f, name in ((1.0, "old"), (truth, "new"))]
            pairs = match_models(result(files, 360), Path("old"), Path("new"))
            found.append(judge(pairs, [parse_gate("latency>1.1x")], same_run=True))
        yield shares("one run", "latency>1.1x", truth, truth <= 1.1, found)
    for name, engine, base in (
        ("baseline on the same engine", "litert", True),
        ("baseline on another engine", "onnxruntime", True),
        ("no common baseline", "litert", False),
    ):
        for gate, truth in itertools.product(("latency>1.1x", "p99>1.2x"), TRUTHS):
            random = np.random.default_rng(round(100 * truth))
            found = []
            for _ in range(trials):
                sides = []
                for slower in (1.0, truth):
                    run = np.exp(random.normal(0, RUN_SPEED))
                    rounds = run * np.exp(random.normal(0, ROUND_SPEED, ROUNDS))
                    own = slower * np.exp(random.normal(0, RESIDUAL[engine]))
                    rows = [timed(random, "litert", 100 * rounds, scheme="tflite-float32", file="base.tflite")]
                    rows.append(timed(random, engine, 60 * own * rounds, file="file"))
                    sides.append(result(rows if base else rows[1:], 360))
                found.append(compare_results(*sides, [parse_gate(gate)], schemes="tflite-int8"))
            limit = 1.1 if gate.startswith("latency") else 1.2
            yield shares(f"two runs, {name}", gate, truth, truth <= limit, found)


def real_runs(folders: list[str]) -> dict[str, object]:
    """What results of the same files differed by: largest ratio of each kind of comparison, and alarms, all false."""
    runs = [load_benchmark(folder) for folder in folders]
    gates = [parse_gate(text) for text in ("latency>1.05x", "p99>1.5x", "memory>10%", "drop>0.1")]
    largest: dict[str, float] = {}
    fired: dict[str, list[int]] = {gate.text: [0, 0] for gate in gates}
    for old, new in itertools.permutations(runs, 2):
        found = compare_results(old, new, gates)
        for figure in (f for pair in found.pairs for f in pair.figures if f.change is not None):
            if figure.name != "accuracy" and figure.change is not None:
                kind = f"{figure.name}: {figure.how}"
                largest[kind] = max(largest.get(kind, 1.0), figure.change.estimate)
        for verdict in found.verdicts:
            fired[verdict.gate][0] += verdict.outcome == FAILED
            fired[verdict.gate][1] += 1
    return {"runs": len(runs), "largest_ratio": largest, "false_alarms_of": fired}


def shares(name: str, gate: str, truth: float, false: bool, found: list[Comparison]) -> dict[str, object]:
    """One line: how often the gate fired, and how often it was left open."""
    outcomes = [f.verdicts[0].outcome for f in found]
    parts = {key: outcomes.count(outcome) / len(outcomes) for key, outcome in (("fired", FAILED), ("open", OPEN))}
    return {"comparison": name, "gate": gate, "truth": truth, "false": false} | parts


def row(engine: str, *, right: np.ndarray, keep: bool = True) -> Measurement:
    """A measurement of accuracy alone."""
    correct = base64.b64encode(np.packbits(right)).decode() if keep else ""
    plain = Measurement(file="file", scheme="tflite-int8", engine=engine, threads=1, size_bytes=1)
    return replace(plain, accuracy=float(np.mean(right)), correct=correct)


def timed(
    random: np.random.Generator, engine: str, rounds: np.ndarray, *, file: str, scheme: str = "tflite-int8"
) -> Measurement:
    """A measurement of latency alone, from calls that are drawn about the speed of each round, microseconds."""
    calls = rounds[:, None] * np.exp(np.abs(random.normal(0, CALL_SPREAD, (len(rounds), CALLS))))
    p50, p90, p99 = np.percentile(calls, (50, 90, 99)).tolist()
    return Measurement(
        file=file,
        scheme=scheme,
        engine=engine,
        threads=1,
        size_bytes=1,
        sha256="base" if file == "base.tflite" else "",
        p50_us=p50,
        p90_us=p90,
        p99_us=p99,
        count=calls.size,
        rounds=len(rounds),
        round_medians_us=tuple(np.median(calls, axis=1).tolist()),
        round_p99s_us=tuple(np.percentile(calls, 99, axis=1).tolist()),
    )


def result(rows: list[Measurement], count: int) -> Benchmark:
    """A result of these rows on one host; its baseline is `base.tflite`."""
    return Benchmark(
        host={"name": "host", "cpu": "CPU", "machine": "x86_64", "cores": 2},
        data={"source": "drawn", "sha256": "drawn", "split": "test", "count": count},
        baseline={"file": "base.tflite", "scheme": "tflite-float32", "engine": "litert"},
        keras_accuracy=None,
        max_drop_pp=1.0,
        results=tuple(rows),
        advice=Advice(ship=None, engine=None, why=""),
    )


if __name__ == "__main__":
    main()
