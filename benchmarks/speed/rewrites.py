"""Are rewritten files faster than those without rewrites, and as accurate? Every net, scheme and engine, in one table.

    python benchmarks/speed/rewrites.py --out CACHE [--make] [--time] [--table] [--models MobileNetV2,lenet]
        [--schemes tflite-int8,onnx-int8] [--again] [--clock wall|cpu]

Nets: ten of `keras.applications` at two sizes with random weights, and our nine architectures trained on real data
(`rewrite_nets`). Engines: LiteRT and ONNX Runtime, one thread, pinned. Three stages, all unless some are named:

--make   converts every net without rewrites (`before`) and with (`after`); other code makes `after` anew
--time   times all files of a net on an engine in alternation (`rewrite_timing`) and judges their answers
--table  prints the ratios and what was asked of them; exits with 1 if something was not kept

Results are JSON lines in the cache under a key of the files' content, the engine and the CPU, so a killed run goes on
where it was; `--again` times anew. Asked, with ratios to the float32 file that was made at the same time:

* tflite-int8 at most 0.60 of tflite-float32, tflite-dynamic 0.80, onnx-int8 0.80 of onnx-float32 (NASNet 1.0), on every
  net over 1 MMAC;
* no file slower than before: its ratio's interval reaches 1. A file that seems slower is timed twice more, and is
  called slower if it is so every time, because one in forty intervals lies above 1 by chance;
* accuracy of trained nets within one test image or 0.1 percentage points; of random nets, signal to noise (Keras'
  answers are the signal) at most 0.3 dB lower, where differences beyond 80 dB, float32's bound, do not count.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "shared"))

from rewrite_nets import REAL, Net, nets
from rewrite_timing import Log, add_options, file_hash, judged, key_of, machine, options_of, time_files, words
from side_by_side import Comparison, summarize

from edgepress.converters.inspection import read
from edgepress.converters.schemes import SCHEMES, parse_schemes
from edgepress.toolkit.machine.host import describe_host

SCHEME_NAMES = (
    *("tflite-float32", "tflite-float16", "tflite-dynamic", "tflite-int8"),
    *("onnx-float32", "onnx-dynamic", "onnx-int8"),
)
ENGINE_OF = {"tflite": "litert", "onnx": "onnxruntime"}
LIMITS = {"tflite-int8": 0.60, "tflite-dynamic": 0.80, "onnx-int8": 0.80}
NASNET_LIMIT = 1.0
LEAST_MACS = 1_000_000
LOSS_DB, BEYOND_DB, LOSS_IMAGES, LOSS_SHARE = 0.3, 80.0, 1, 0.001
TRIES = 3


@dataclass(frozen=True)
class Row:
    """What was measured of one net and scheme.

    Attributes:
        net: The net.
        scheme: The scheme.
        macs: Multiply-accumulates of the net.
        runs: After against before, one comparison for each time that they were timed.
        float_before, float_after: Each file's time against the float32 file of its own side.
        float_today: The file with rewrites against the float32 file without.
        before, after: What the answers are worth.
        rewrites: The rewrites made, with their numbers of places.
    """

    net: str
    scheme: str
    macs: int
    runs: tuple[Comparison, ...]
    float_before: float
    float_after: Comparison
    float_today: float
    before: dict[str, float]
    after: dict[str, float]
    rewrites: dict[str, int]

    @property
    def slower(self) -> bool:
        """Whether it took longer than before, beyond the interval, every time."""
        return all(run.ratio_low is not None and run.ratio_low > 1 for run in self.runs)

    def broken(self) -> list[str]:
        """What was asked of it and is not so."""
        found = []
        limit = NASNET_LIMIT if self.net.startswith("NASNet") and self.scheme == "onnx-int8" else None
        limit = limit or LIMITS.get(self.scheme)
        if limit and self.macs > LEAST_MACS and self.float_after.ratio > limit:
            found.append(f"{self.float_after.ratio:.2f} of float32, limit {limit:.2f}")
        if self.slower:
            found.append(f"slower than before, {self.runs[-1].ratio:.3f}")
        if "right" in self.after:
            lost = self.before["right"] - self.after["right"]
            if lost > max(LOSS_IMAGES, LOSS_SHARE * self.after["items"]):
                found.append(f"{lost:.0f} of {self.after['items']:.0f} test items lost")
        elif min(self.before["sqnr_db"], BEYOND_DB) - min(self.after["sqnr_db"], BEYOND_DB) > LOSS_DB:
            found.append(f"{self.before['sqnr_db']:.1f} dB before, {self.after['sqnr_db']:.1f} dB after")
        return found

    def worth(self) -> str:
        """The answers before and after, in words."""
        if "right" in self.after:
            pair = [f"{100 * side['right'] / side['items']:.2f} %" for side in (self.before, self.after)]
        else:
            pair = [f"{side['sqnr_db']:.1f} dB, {side['agreement']:.0%}" for side in (self.before, self.after)]
        return pair[0] if pair[0] == pair[1] else " -> ".join(pair)


def main() -> None:
    """Run the stages asked for; exit with 1 if something was not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the cache")
    parser.add_argument("--real", type=Path, default=REAL, help="folder of real data")
    parser.add_argument("--models", default="", help="words that the names of the wanted nets hold")
    parser.add_argument("--schemes", default=",".join(SCHEME_NAMES))
    add_options(parser)
    parser.add_argument("--again", action="store_true", help="time files that were timed before")
    for stage in ("make", "time", "table"):
        parser.add_argument(f"--{stage}", action="store_true")
    args = parser.parse_args()
    every = not (args.make or args.time or args.table)
    chosen = list(nets(args.out, [w for w in args.models.split(",") if w], real=args.real))
    wanted = list(parse_schemes(args.schemes))
    references = [f"{SCHEMES[scheme].format}-float32" for scheme in wanted]  # what the others are compared with
    schemes = list(dict.fromkeys([*references, *wanted]))
    if args.make or every:
        for net in chosen:
            make(net, schemes)
    log = Log(args.out, "rewrites", args.clock)
    if args.time or every:
        for net in chosen:
            for scheme_format, engine in ENGINE_OF.items():
                measure(net, [s for s in schemes if SCHEMES[s].format == scheme_format], engine, log, args)
    if args.table or every:
        sys.exit(table(chosen, schemes, log))


def make(net: Net, schemes: list[str]) -> None:
    """Make a net's model and files where they are missing or of other code."""
    net.make()
    for side in ("before", "after"):
        for scheme, error in net.convert(schemes, side).items():
            print(f"{net.name} {side} {scheme}: {error}", file=sys.stderr)


def measure(net: Net, schemes: list[str], engine: str, log: Log, args: argparse.Namespace) -> None:
    """Time and judge the files of an engine, where that was not done."""
    files = files_of(net, schemes)
    if not files:
        return
    items, key = net.items(), _time_key(files, engine)
    for name, path in files.items():
        judge = partial(judged, path, items)
        log.once(_judge_key(path), lambda name=name, judge=judge: {"net": net.name, "file": name} | judge())
    runs = 0 if args.again else len(_runs(log, key))
    while not runs or (runs < TRIES and any(row.slower for row in rows(net, schemes, engine, log))):
        print(f"timing {net.name} on {engine}", file=sys.stderr, flush=True)
        times = time_files(files, engine, items["test"][:1], **options_of(args))
        found = {"key": key, "first": not runs, "net": net.name, "engine": engine}
        log.add(found | {"host": describe_host(), "times": times})
        runs += 1


def files_of(net: Net, schemes: list[str]) -> dict[str, Path]:
    """The files of both sides by "scheme side", of the schemes that both have."""
    before, after = net.files("before"), net.files("after")
    return {f"{s} {side}": files[s] for s in schemes for side, files in (("before", before), ("after", after))
            if s in before and s in after}  # fmt: skip


def rows(net: Net, schemes: list[str], engine: str, log: Log) -> list[Row]:
    """A row for each scheme of an engine that was measured."""
    files = files_of(net, schemes)
    runs = _runs(log, _time_key(files, engine))
    if not runs:
        return []
    macs, found = read(files[next(iter(files))]).macs, []
    for scheme in (s for s in schemes if f"{s} after" in files):
        before, after = f"{scheme} before", f"{scheme} after"
        last, reference = runs[-1], f"{SCHEMES[scheme].format}-float32"
        parts = [
            summarize(scheme, last[side], last[f"{reference} {of}"])
            for side, of in ((before, "before"), (after, "after"), (after, "before"))
        ]
        worth = [log.lines[_judge_key(files[side])][-1] for side in (before, after)]
        compared = tuple(summarize(f"{net.name} {scheme}", run[after], run[before]) for run in runs)
        found.append(
            Row(
                net.name, scheme, macs, compared, parts[0].ratio, parts[1], parts[2].ratio, *worth, net.rewrites(scheme)
            )
        )
    return found


def table(chosen: list[Net], schemes: list[str], log: Log) -> int:
    """Print every row, then what was not kept and a summary; returns 1 if something was not."""
    found: list[Row] = []
    missing = []
    for net in chosen:
        for scheme_format, engine in ENGINE_OF.items():
            wanted = [s for s in schemes if SCHEMES[s].format == scheme_format]
            of_engine = rows(net, wanted, engine, log)
            missing += [f"{net.name} {s}" for s in wanted if s not in {row.scheme for row in of_engine}]
            found += of_engine
    words([f"{'net':22}{'scheme':16}{'us':>10}  of float32: before, after (of that before)   after / before"])
    for row in found:
        run = row.runs[-1]
        spread = f"[{run.ratio_low:.3f}, {run.ratio_high:.3f}]" if run.ratio_low and run.ratio_high else ""
        made = ", ".join(f"{name} {count}" for name, count in row.rewrites.items())
        broken = row.broken()
        line = (
            f"{row.net:22}{row.scheme:16}{run.ours_us:10.1f}  {row.float_before:5.2f} -> {row.float_after.ratio:5.2f} "
            f"({row.float_today:5.2f})  {run.ratio:6.3f} {spread:16} {row.worth():32} {made}"
        )
        words([line.rstrip() + (f"   NOT KEPT: {'; '.join(broken)}" if broken else "")])
    words(["", *summary(found, missing)])
    host = {"host": describe_host(), "rows": len(found), "not_kept": sum(bool(r.broken()) for r in found)}
    words([json.dumps(host | {"missing": missing})])
    return int(bool(missing) or any(row.broken() for row in found))


def summary(found: list[Row], missing: list[str]) -> list[str]:
    """One line for each thing that was asked."""
    lines = [f"missing: {', '.join(missing)}"] if missing else []
    for scheme, limit in LIMITS.items():
        ratios = sorted((r.float_after.ratio, r.net) for r in found if r.scheme == scheme and r.macs > LEAST_MACS)
        if ratios:
            (low, first), (high, last) = ratios[0], ratios[-1]
            lines.append(f"{scheme}: {low:.2f} ({first}) to {high:.2f} ({last}) of float32, asked {limit:.2f}")
    kinds = {"slower than before": "slower", "limits of float32": "limit", "items lost": "lost", "dB": "dB before"}
    for title, word in kinds.items():
        those = [f"{r.net} {r.scheme}" for r in found if any(word in text for text in r.broken())]
        lines.append(f"{title}: {', '.join(those) or 'kept by all'}")
    return lines


def _judge_key(path: Path) -> str:
    return key_of("answers", file_hash(path))


def _runs(log: Log, key: str) -> list[dict[str, list[float]]]:
    """The times of files, by run, since they were last asked for anew."""
    lines = log.lines.get(key, [])
    first = max((i for i, line in enumerate(lines) if line["first"]), default=0)
    return [line["times"] for line in lines[first:]]


def _time_key(files: dict[str, Path], engine: str) -> str:
    return key_of("times", {name: file_hash(path) for name, path in files.items()}, machine(engine))


if __name__ == "__main__":
    main()
