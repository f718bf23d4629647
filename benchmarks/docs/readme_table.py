"""Write the README's table and picture: a net for photos as our files, and as those of bare tools.

    python benchmarks/docs/readme_table.py --data PHOTOS --out CACHE [--print] [--saved]

Trains a net on the photos as `edgepress train` does without options, makes our nine files and the int8 files of
TFLiteConverter, litert-quantizer and ONNX Runtime's quantizer from the same net and the same number of calibration
items, and measures all of them in one `edgepress benchmark`: the same test items, interleaved rounds, one thread. A
rival's file can be recommended, too. Training takes most of the time; the net and the files are kept in the cache.
Replaces what stands between the two `<!-- table -->` marks in README.md, and docs/demo.png; `--print` only prints.
Wants an idle machine, because it times. README's figures are of the photos of waste by G. Thung and M. Yang (MIT).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.append(str(Path(__file__).parents[1] / "shared"))

import numpy as np
from accuracy_nets import Net, Place, alone
from accuracy_peers import peer_files

from edgepress.converters.schemes import ALL
from edgepress.toolkit.conversion.convert import Hints
from edgepress.toolkit.conversion.inspection import annotate
from edgepress.toolkit.data import open_data
from edgepress.toolkit.data.types import SPLITS
from edgepress.toolkit.machine.host import host_title
from edgepress.toolkit.measurement.benchmarking.benchmark import BenchmarkOptions, benchmark, write_benchmark
from edgepress.toolkit.measurement.benchmarking.plots import plot_benchmark
from edgepress.toolkit.results.file import load_benchmark
from edgepress.toolkit.results.records import Benchmark, Measurement
from edgepress.toolkit.training.choosing import PHOTO_SIDE

ROOT = Path(__file__).parents[2]
MARK = "<!-- table -->"
PICTURE = ROOT / "docs" / "demo.png"
NET = "photos"
"""Name of the net's folder in the cache."""
RIVALS = {"converter": "TFLiteConverter", "litert-q": "litert-quantizer", "ort": "ORT quantizer"}
"""Bare tools of `accuracy_peers.py`, each with its defaults, and what the table calls them."""
HINTS: dict[str, Any] = {"task": "softmax", "color": "rgb"}
"""What the files of bare tools say nothing of, beside their labels."""
RANGES: dict[str, dict[str, Any]] = {"litert-q": {"input_range": "0,255"}}
"""What some of them don't say of their input; those that take uint8 say their range."""
TIMING_S = 5.0
"""Seconds of timing for each file."""
CAP_S = 600.0
"""Seconds that a file may take to answer the test split: int16x8 has slow kernels."""


@dataclass(frozen=True)
class TableNet(Net):
    """The net of the table."""

    @property
    def data(self) -> Path:
        """Its photos as one file, which bare tools read, too."""
        return self.folder / "photos.npz"

    def train(self, photos: Path) -> None:
        """Train it, if it is not there, in a process of its own."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.model.exists():
            alone(_train, photos, self.data, self.folder / "run", self.model)


def _train(photos: Path, arrays: Path, run: Path, model: Path) -> None:
    from edgepress.toolkit import train

    data = open_data(photos, size=PHOTO_SIDE, skip_unreadable=True)
    splits = {name: getattr(data, name) for name in SPLITS}
    np.savez(
        arrays,
        labels=np.array(data.labels),
        **{f"x_{name}": split.read(slice(None)) for name, split in splits.items()},
        **{f"y_{name}": split.y for name, split in splits.items()},
    )
    train(data, out=run, resume=True, progress=False)
    shutil.copyfile(run / "model.keras", model)


def main() -> None:
    """Measure, and write the figures where they are shown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of class folders")
    parser.add_argument("--out", type=Path, required=True, help="folder of the cache")
    parser.add_argument("--print", action="store_true", dest="only_print", help="leave README and picture as they are")
    parser.add_argument("--saved", action="store_true", help="measure nothing: take the last results of the cache")
    args = parser.parse_args()
    result = load_benchmark(args.out) if args.saved else measure(args.data, args.out)
    found = document(result)
    text = table(found, result.host)
    print(text)
    print(json.dumps(found))
    if not args.saved:
        write_benchmark(result, args.out)
    picture = args.out / PICTURE.name
    plot_benchmark(result, picture)
    if not args.only_print:
        shutil.copyfile(picture, PICTURE)
        readme = ROOT / "README.md"
        before, _, after = readme.read_text().split(MARK)
        readme.write_text(f"{before}{MARK}\n{text}\n{MARK}{after}")


def measure(photos: Path, cache: Path) -> Benchmark:
    """The benchmark of our files and the rivals'; rows of rivals have the tool's name for a scheme."""
    net = TableNet(NET, Place(cache, Path(), Path()))
    net.train(photos)
    made = net.convert(ALL)
    ours = [row["file"] for row in made.values()]
    theirs = peer_files(net, list(RIVALS))
    missing = [f"{name}: {found}" for name, found in [*theirs.items()] if isinstance(found, str)]
    missing += [f"{scheme}: {row['error']}" for scheme, row in made.items() if row["file"] is None]
    if missing:
        sys.exit(f"files could not be made: {'; '.join(missing)}")
    options = BenchmarkOptions(
        engine="litert,onnxruntime", timing_s=TIMING_S, time_cap=CAP_S, baseline=str(made["tflite-float32"]["file"])
    )
    labels = list(open_data(net.data).labels)
    described = {name: _described(name, Path(path), labels) for name, path in theirs.items()}
    result = benchmark([*ours, *described.values()], data=str(net.data), options=options)
    if failed := [f"{row.file}: {row.status}" for row in result.results if row.failed]:
        sys.exit(f"files could not be measured: {'; '.join(failed)}")
    names = {str(path): name for name, path in described.items()}
    rows = tuple(_of_rival(row, names[row.file], theirs) if row.file in names else row for row in result.results)
    return replace(result, results=rows)


def _described(name: str, path: Path, labels: list[str]) -> Path:
    """A copy of a rival's file that says what it takes and answers."""
    copy = path.with_name(f"{name}-described{path.suffix}")
    annotate(path, copy, hints=Hints(labels=labels, **HINTS, **RANGES.get(name, {})))
    return copy


def _of_rival(row: Measurement, name: str, files: Mapping[str, Path | str]) -> Measurement:
    """A rival's row: its own size, and the tool's name for a scheme."""
    return replace(row, scheme=RIVALS[name], size_bytes=Path(files[name]).stat().st_size)


def document(result: Benchmark) -> dict[str, Any]:
    """What the table shows, as figures."""
    names = {row.file: row.scheme for row in result.results}
    keys = ("scheme", "size_bytes", "accuracy", "drop_pp", "drop_low_pp", "drop_high_pp", "p50_us", "speedup")
    rows = [
        {key: getattr(row, key) for key in keys}
        | {"bare": row.scheme in RIVALS.values(), "format": Path(row.file).suffix[1:]}
        for row in result.results
    ]
    limits = {"confidence": result.advice.confidence, "max_drop_pp": result.max_drop_pp}
    return {"count": result.data["count"], "ship": names.get(result.advice.ship or ""), **limits, "rows": rows}


def table(found: Mapping[str, Any], host: Mapping[str, Any]) -> str:
    """The figures of `document` as a Markdown table, with what they were measured on and which file to ship."""
    lines = [
        "| file | size | accuracy | drop, pp [95 %] | p50 | speed-up |",
        "|---|--:|--:|--:|--:|--:|",
        *(_row(row) for row in found["rows"]),
        "",
        _about(found, host),
    ]
    return "\n".join(lines)


def _row(row: Mapping[str, Any]) -> str:
    name = f"{row['scheme']}, bare" if row["bare"] else f"`{row['scheme']}`"
    drop = (
        "{drop_pp:+.2f} [{drop_low_pp:+.2f}, {drop_high_pp:+.2f}]".format(**row) if row["drop_pp"] is not None else ""
    )
    size, accuracy = f"{row['size_bytes'] / 1000:.0f} kB", f"{row['accuracy']:.2%}"
    return f"| {name} | {size} | {accuracy} | {drop} | {row['p50_us']:.0f} µs | {row['speedup']:.2f} |"


def _about(found: Mapping[str, Any], host: Mapping[str, Any]) -> str:
    assert found["ship"] is not None
    return (
        f"EfficientNet-Lite0 at {PHOTO_SIDE}x{PHOTO_SIDE}, trained by `edgepress train` without options; "
        f"{found['count']:,} test photos of waste in six classes (trashnet); 1 thread, {host_title(host)}. "
        f"`benchmark` recommends `{found['ship']}`: of the files that are at least {found['confidence']:.0%} sure to "
        f"lose less than {found['max_drop_pp']:g} pp, it has the least product of size and latency. Bare: the tool "
        f"alone with its defaults, on the same net and calibration images. "
        f"(Table and picture: `benchmarks/docs/readme_table.py`.)"
    )


if __name__ == "__main__":
    main()
