"""Rows of `accuracy.py` for weights of 4 bits: `int4`, and `tune`, which is for 8 bits, too."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "shared"))

from accuracy_int8 import FLOAT, of_side
from accuracy_lines import Line, accuracy, beside, drop, flags_of, note, shown, worse_than
from accuracy_nets import Net, Place, alone, nets
from accuracy_peers import INT4, peer_files
from rewrite_nets import code_hash
from rewrite_timing import file_hash, time_files
from side_by_side import summarize

from edgepress.toolkit.stats.intervals import paired_drop

NETS = ("mobilenet-v2-signs", "mobilenet-v3-small-signs", "resnet8-mnist", "lenet-mnist")
TUNED = (*NETS, "pretrained-resnet", "separable-b")
"""The nets of `tune`: these, and two that lose more at 4 bits, measured on 10,000 items."""
SCHEMES = {"tflite-int4": "tflite-int8", "onnx-int4": "onnx-int8"}
"""The schemes, and those whose size and latency they are compared with."""
ENGINES = {"tflite": "litert", "onnx": "onnxruntime"}
LIMIT, MINUTES, REGAINED = 1.0, 5.0, 0.5
TUNE_MINUTES = 10
TIMING = {"rounds": 15, "budget_s": 0.4, "clock": "wall"}


def int4(place: Place, wanted: list[str], seeds: int) -> Iterator[Line]:
    """Weights of 4 bits without labels: accuracy, minutes, size and latency against int8; and the bare tool's."""
    for net in nets(NETS, place, wanted):
        reference, rounded = of_side(net, "minmax", tuple(SCHEMES))
        made = net.convert([FLOAT, *SCHEMES, *SCHEMES.values()], "unlabelled")
        ours = flags_of(net, {scheme: row["file"] for scheme, row in made.items() if row["file"]})
        theirs = flags_of(net, peer_files(net, INT4))
        yield note(
            f"{net.name}: {len(reference)} test items, float {accuracy(reference)} %; {beside(theirs, reference)}"
        )
        for scheme, eight in SCHEMES.items():
            if scheme not in ours:
                yield Line(f"    {net.name:26} {scheme:12} no file: {made[scheme]['error']}", "no file")
                continue
            found = paired_drop(reference, ours[scheme])
            broken = [] if found.estimate <= LIMIT else [f"drop {found.estimate:.2f} pp, limit {LIMIT:g}"]
            broken += worse_than(ours[scheme], theirs)
            minutes = made[scheme]["seconds"] / 60  # of one conversion that makes both
            if minutes > MINUTES:
                broken.append(f"{minutes:.1f} min, limit {MINUTES:g}")
            before = f"rounded to nearest {drop(reference, rounded[scheme])}" if scheme in rounded else ""
            yield Line(
                f"    {net.name:26} {scheme:12} {before}, ours {drop(reference, ours[scheme])}, {minutes:.1f} min, "
                f"{_against(net, made, scheme, eight)}",
                "; ".join(broken),
            )


def _against(net: Net, made: dict[str, Any], scheme: str, eight: str) -> str:
    """Size and latency against the file of eight bits."""
    files = {name: made[name]["file"] for name in (scheme, eight) if made[name]["file"]}
    if len(files) < 2:
        return "no int8 file"
    small, large = (path.stat().st_size for path in files.values())
    times = time_files(files, ENGINES[scheme.split("-")[0]], net.split("test")[0][:1], **TIMING)
    found = summarize(scheme, times[scheme], times[eight])
    return (
        f"{small / 1000:.0f} of {large / 1000:.0f} kB, {found.ours_us:.0f} of {found.theirs_us:.0f} us, "
        f"ratio {found.ratio:.2f} [{found.ratio_low:.2f}, {found.ratio_high:.2f}]"
    )


def tune(place: Place, wanted: list[str], seeds: int) -> Iterator[Line]:
    """What `tune` regains of what is still lost after repairs and rounding; at 8 bits it must lose nothing."""
    for net in nets(TUNED, place, wanted):
        for bits in (4, 8):
            schemes = tuple(SCHEMES) if bits == 4 else tuple(SCHEMES.values())
            reference, before = of_side(net, "repaired", schemes)
            model, minutes, error = _tuned(net, bits)
            if model is None:
                yield Line(f"    {net.name:26} {bits} bits: {error}", "no result")
                continue
            made = net.convert(schemes, f"tuned-{bits}", model)
            after = flags_of(net, {scheme: row["file"] for scheme, row in made.items() if row["file"]})
            for scheme in schemes:
                if scheme not in before or scheme not in after:
                    yield Line(f"    {net.name:26} {scheme:12} no file", "no file")
                    continue
                lost, left = (paired_drop(reference, side[scheme]) for side in (before, after))
                worse = paired_drop(before[scheme], after[scheme])
                broken = ""
                if bits == 8 and worse.low is not None and worse.low > 0:
                    broken = f"worse by {shown(worse)}"
                if bits == 4 and lost.estimate > 100 / len(reference):  # otherwise nothing is left to regain
                    share = (lost.estimate - left.estimate) / lost.estimate
                    broken = "" if share >= REGAINED else f"{share:.0%} regained, asked half"
                yield Line(
                    f"    {net.name:26} {scheme:12} before {drop(reference, before[scheme])}, tuned "
                    f"{drop(reference, after[scheme])}, {minutes:.1f} min",
                    broken,
                )


def _tuned(net: Net, bits: int) -> tuple[Path | None, float, str]:
    """The tuned model, the minutes it took, and why there is none; kept in the cache."""
    folder = net.folder / f"tune-{bits}"
    log, key = folder / "made.json", f"{code_hash()} {file_hash(net.model)}"
    made = json.loads(log.read_text()) if log.exists() else {}
    if made.get("key") != key:
        print(f"tuning {net.name} to {bits} bits", file=sys.stderr, flush=True)
        start = time.perf_counter()
        made = {"key": key, "file": "", "error": ""}
        try:
            made["file"] = alone(_tune, net.model, net.data, net.hints, bits, folder / "out")
        except Exception as e:  # whatever it raises, or a process that died
            made["error"] = f"{type(e).__name__}: {str(e)[-200:]}"
        made["minutes"] = (time.perf_counter() - start) / 60
        folder.mkdir(parents=True, exist_ok=True)
        log.write_text(json.dumps(made))
    path = Path(made["file"]) if made["file"] and not made["error"] else None
    return path, float(made["minutes"]), " ".join(made["error"].split())


def _tune(model: Path, data: Path, hints: dict[str, Any], bits: int, out: Path) -> str:
    from edgepress.toolkit import tune
    from edgepress.toolkit.conversion.convert import Hints

    told = Hints(**hints) if hints else None
    return str(tune(model, str(data), bits=bits, minutes=TUNE_MINUTES, hints=told, out=out, overwrite=True).model)
