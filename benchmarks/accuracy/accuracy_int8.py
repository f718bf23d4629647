"""Rows of `accuracy.py` that compare files of eight bits and fewer: `natural`, `hurt`, `hard` and `harmless`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "shared"))

from accuracy_hurt import RECIPES
from accuracy_lines import Flags, Line, accuracy, beside, drop, flags_of, note, worse_than
from accuracy_nets import GIVEN, TRAINED, Net, Place, nets
from accuracy_peers import DYNAMIC, INT8, peer_files

from edgepress.toolkit.stats.intervals import paired_drop

FLOAT, INT = "tflite-float32", ("tflite-int8", "onnx-int8")
DYN = ("tflite-dynamic", "onnx-dynamic")
QUANTIZED = (*INT, *DYN, "tflite-int4", "tflite-int16x8")
"""Schemes whose files repairs may change."""
LIMIT = 0.3
"""Largest drop of a net as it is, percentage points."""
HARD_LIMIT = 0.5
"""Largest drop of a net whose channels have scales far apart, percentage points."""
REGAINED = 2 / 3
"""Least share of a loss that repairs regain."""
SECONDS = 20.0
"""Longest time that repairs may add to a conversion."""
HURT = (*RECIPES, "resnet8-signs", "mobilenet-v2-signs", *(f"resnet8-mnist@uneven-{seed}" for seed in range(3)))
HARD = (
    "lenet-mnist",
    "resnet8-mnist",
    "vgg-mnist",
    "mobilenet-v1-signs",
    "mobilenet-v2-signs",
    "mobilenet-v3-small-signs",
)
HARD_PINNED = ("mobilenet-v3-small-signs",)
"""Nets with hard-swish, which pins groups."""


def natural(place: Place, wanted: list[str], seeds: int) -> Iterator[Line]:
    """The int8 drop of nets as they are, in both formats, beside the bare tools'."""
    for net in nets([*TRAINED, *GIVEN], place, wanted):
        reference, ours = of_side(net, "repaired", INT)
        plain = of_side(net, "minmax", INT)[1]
        theirs = flags_of(net, peer_files(net, INT8))
        yield note(
            f"{net.name}: {len(reference)} test items, float {accuracy(reference)} %; {beside(theirs, reference)}"
        )
        for scheme in INT:
            yield _natural(net, scheme, reference, ours, plain, theirs)


def _natural(
    net: Net, scheme: str, reference: Flags, ours: dict[str, Flags], plain: dict[str, Flags], theirs: dict[str, Flags]
) -> Line:
    if scheme not in ours:
        return Line(f"    {net.name:26} {scheme:12} no file", "no file")
    found = paired_drop(reference, ours[scheme])
    one_item = 100 / len(reference)
    broken = worse_than(ours[scheme], theirs)
    if found.estimate > max(LIMIT, one_item):  # a drop below one item can't be seen
        significant = "" if found.low is not None and found.low > 0 else " (the interval holds 0)"
        broken.insert(0, f"drop {found.estimate:.2f} pp, limit {LIMIT}{significant}")
    before = f", min-max {drop(reference, plain[scheme])}" if scheme in plain else ""
    return Line(f"    {net.name:26} {scheme:12} {drop(reference, ours[scheme])}{before}", "; ".join(broken))


def hurt(place: Place, wanted: list[str], seeds: int) -> Iterator[Line]:
    """Nets that ranges of smallest and largest values hurt: what repairs regain, and what they cost.

    A net counts if its loss is beyond the interval. Two thirds are asked of all nets together; of one net, whose loss
    is a few dozen items, that more than a third being left is not beyond the interval.
    """
    sums = {scheme: np.zeros(3) for scheme in INT}  # lost and left, percentage points, and the nets
    for net in nets(HURT, place, wanted):
        reference, plain = of_side(net, "minmax", INT)
        _, repaired = of_side(net, "repaired", INT)
        theirs = flags_of(net, peer_files(net, INT8))
        yield note(
            f"{net.name}: {len(reference)} test items, float {accuracy(reference)} %; {beside(theirs, reference)}"
        )
        seconds = extra_seconds(net)
        for scheme in INT:
            if scheme not in plain or scheme not in repaired:
                yield Line(f"    {net.name:26} {scheme:12} no file", "no file")
                continue
            lost, left = (paired_drop(reference, side[scheme]) for side in (plain, repaired))
            broken = worse_than(repaired[scheme], theirs)
            text = "not hurt beyond the interval"
            if (lost.low or 0) > 0:
                sums[scheme] += lost.estimate, left.estimate, 1
                text = f"{1 - left.estimate / lost.estimate:.0%} regained"
                broken += [f"{text}, asked two thirds"] if (left.low or 0) > lost.estimate * (1 - REGAINED) else []
            broken += [f"{seconds:.1f} s, limit {SECONDS:.0f}"] if seconds > SECONDS else []
            yield Line(
                f"    {net.name:26} {scheme:12} min-max {drop(reference, plain[scheme])}, repaired "
                f"{drop(reference, repaired[scheme])}: {text}, {seconds:+.1f} s",
                "; ".join(broken),
            )
    for scheme, (lost_pp, left_pp, count) in sums.items():
        share = 1 - left_pp / lost_pp if count else np.nan
        yield Line(
            f"    {count:.0f} nets that are hurt       {scheme:12} {lost_pp:.2f} pp lost in all, {left_pp:.2f} left: "
            f"{share:.0%} regained",
            "" if share >= REGAINED else "asked two thirds",
        )


def hard(place: Place, wanted: list[str], seeds: int) -> Iterator[Line]:
    """The same functions with channels of scales 2^-6 to 2^6 apart."""
    names = [f"{name}@hard-{seed}" for seed in range(seeds) for name in HARD]
    for base in nets(HARD, place, wanted):  # the trained nets come first
        base.make()
    for net in nets(names, place, wanted):
        reference, ours = of_side(net, "repaired", (*INT, *DYN))
        plain = of_side(net, "minmax", (*INT, *DYN))[1]
        theirs = flags_of(net, peer_files(net, [*INT8, *DYNAMIC]))
        yield note(
            f"{net.name}: {len(reference)} test items, float {accuracy(reference)} %; {beside(theirs, reference)}"
        )
        for scheme in (*INT, *DYN):
            if scheme not in ours:
                yield Line(f"    {net.name:26} {scheme:12} no file", "no file")
                continue
            found = paired_drop(reference, ours[scheme])
            limit = max(HARD_LIMIT, 100 / len(reference))
            broken = [f"drop {found.estimate:.2f} pp, limit {HARD_LIMIT}"] if found.estimate > limit else []
            peers = {n: f for n, f in theirs.items() if n.endswith("dynamic") == scheme.endswith("dynamic")}
            broken += worse_than(ours[scheme], peers)
            before = f", min-max {drop(reference, plain[scheme])}" if scheme in plain else ""
            yield Line(f"    {net.name:26} {scheme:14} {drop(reference, ours[scheme])}{before}", "; ".join(broken))


def harmless(place: Place, wanted: list[str], seeds: int) -> Iterator[Line]:
    """Whether repairs make a file worse than `--no-repairs` does, beyond the interval.

    Files of others that are quantized already can't be repaired.
    """
    given = [name for name, (path, *_) in GIVEN.items() if not path.endswith(".tflite")]
    for net in nets([*TRAINED, *given, *RECIPES], place, wanted):
        _, plain = of_side(net, "unrepaired", QUANTIZED)
        _, repaired = of_side(net, "repaired", QUANTIZED)
        for scheme in QUANTIZED:
            if scheme in plain and scheme in repaired:
                lost = paired_drop(plain[scheme], repaired[scheme])
                text = f"unrepaired {accuracy(plain[scheme])} %, repaired {drop(plain[scheme], repaired[scheme])}"
                worse = lost.low is not None and lost.low > 0
                yield Line(f"    {net.name:26} {scheme:14} {text}", "repairs lose accuracy" if worse else "")
            else:
                missing = [
                    side for side, files in (("unrepaired", plain), ("repaired", repaired)) if scheme not in files
                ]
                broken = "no repaired file" if missing == ["repaired"] else ""
                yield Line(f"    {net.name:26} {scheme:14} no file: {', '.join(missing)}", broken, judged=bool(broken))


def of_side(net: Net, side: str, schemes: tuple[str, ...]) -> tuple[Flags, dict[str, Flags]]:
    """Right answers of the float file, and of each scheme's file that there is."""
    made = net.convert([FLOAT, *schemes], side)
    files: dict[str, Path | str] = {s: row["file"] or row["error"] for s, row in made.items()}
    for scheme, row in made.items():
        if not row["file"]:
            print(f"{net.name} {side} {scheme}: {row['error']}", flush=True)
    flags = flags_of(net, files)
    return flags.pop(FLOAT), flags


def extra_seconds(net: Net) -> float:
    """Seconds that repairs take beyond a conversion without, of the same schemes; from the last two conversions."""
    times: dict[str, Any] = {}
    for side in ("minmax", "repaired"):
        times[side] = max(row["seconds"] for row in net.convert([FLOAT, *INT], side).values())
    return float(times["repaired"] - times["minmax"])
