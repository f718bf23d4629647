"""Which file to ship, by one rule, with the reason in words.

The rule: the smallest file whose accuracy drop, measured on its engine, is within the limit with 97.5 % confidence (the
upper end of its 95 % confidence interval). If several files or engines are equally small, the one whose speed-up
interval lies above all others. Of files without labels, SQNR to the baseline's outputs takes the place of the drop:
at least `MIN_SQNR_DB`. Latency decides nothing else, because it is valid only for the host it was measured on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgepress.converters.schemes import SCHEMES
from edgepress.runtime import ENGINES
from edgepress.toolkit.host.describe import X86, host_title
from edgepress.toolkit.results.file import correct_items
from edgepress.toolkit.results.records import NO_BASELINE, USABLE, Advice, Measurement
from edgepress.toolkit.stats.samples import items_to_rule_out
from edgepress.toolkit.text import duration, estimate

MAX_DROP_PP = 1.0
MIN_SQNR_DB = 20.0
"""Smallest SQNR of a usable file without labels, dB: its error is a tenth of the outputs, as root mean squares."""
INTEGER = [name for name, scheme in SCHEMES.items() if scheme.calibrated and scheme.arithmetic == "int8"]


def choose(
    results: Sequence[Measurement],
    *,
    host: Mapping[str, Any],
    count: int,
    max_drop_pp: float = MAX_DROP_PP,
) -> Advice:
    """Which of the measured files to ship.

    Args:
        results: Measurements, all compared with the same baseline.
        host: The host that they were measured on (`describe_host`).
        count: Number of test items.
        max_drop_pp: Limit of the drop's upper end, percentage points.
    """
    if any(r.max_error is not None for r in results):
        return _by_error(results, host, count)
    if all(r.drop_high_pp is None for r in results):
        if any(r.accuracy is not None or r.status == NO_BASELINE for r in results):
            return _none("no float file was measured, so no drop and no error is known. Add a float32 file.")
        return _none("no file could be measured.")
    fit = [r for r in results if r.status == USABLE]
    near = _nearest_miss(results, max_drop_pp)
    if not fit:
        return _none(
            f"no drop is proven to stay within {max_drop_pp:g} pp. {_remedy(near, results, count, max_drop_pp)}"
        )
    best, beside = _smallest(fit)
    why = [
        f"{Path(best.file).name} on {best.engine} is the smallest of {len({r.file for r in results})} files whose "
        f"accuracy drop is proven to stay within {max_drop_pp:g} pp: {_drop(best)} on {count} test images."
    ]
    why += beside
    if near is not None and near.size_bytes < best.size_bytes:
        why.append(f"Smaller, but not proven: {_remedy(near, results, count, max_drop_pp)}")
    if best.p50_us is not None:
        why.append(_speed(best, host))
    return Advice(ship=best.file, engine=best.engine, why=" ".join(why))


def _by_error(results: Sequence[Measurement], host: Mapping[str, Any], count: int) -> Advice:
    """Which file without labels to ship."""
    bound = f"an SQNR of {MIN_SQNR_DB:g} dB"
    fit = [r for r in results if r.status == USABLE]
    if all(r.max_error == 0 for r in fit):  # the baseline is always usable
        others = [r for r in results if r.max_error]
        if not others:
            return _none("no other file than the baseline was measured.")
        near = max(others, key=lambda r: -math.inf if r.sqnr_db is None else r.sqnr_db)
        found = "no signal" if near.sqnr_db is None else f"{near.sqnr_db:.1f} dB"
        return _none(
            f"no quantized file reaches {bound} to the baseline; the nearest, {Path(near.file).name} on {near.engine}, "
            f"reaches {found}. Calibrate with more data, or measure what the error means for your task."
        )
    best, beside = _smallest(fit)
    reached = "equals the baseline" if best.sqnr_db is None else f"reaches {best.sqnr_db:.1f} dB"
    why = [
        f"{Path(best.file).name} on {best.engine} is the smallest of {len({r.file for r in results})} files whose "
        f"outputs reach {bound} to the baseline's: it {reached} on {count} items; the largest error is "
        f"{best.max_error:.2g}.",
        *beside,
        "Only a test of your task shows what such an error means for it.",
    ]
    if best.p50_us is not None:
        why.append(_speed(best, host))
    return Advice(ship=best.file, engine=best.engine, why=" ".join(why))


def _smallest(fit: Sequence[Measurement]) -> tuple[Measurement, list[str]]:
    """The smallest of the files that qualify, among equals the fastest; and a sentence on the equals, if any."""
    smallest = min(r.size_bytes for r in fit)
    equals = [r for r in fit if r.size_bytes == smallest]
    best = max(equals, key=lambda r: r.speedup_low or 0.0)
    beyond_doubt = all((best.speedup_low or 0.0) > (r.speedup_high or math.inf) for r in equals if r is not best)
    if not beyond_doubt:
        best = equals[0]
    others = ", ".join(f"{Path(r.file).name} on {r.engine}" for r in equals if r is not best)
    faster = "Significantly" if beyond_doubt else "Not significantly slower or"
    return best, [f"{faster} faster than {others}."] if others else []


AMX = (
    "LiteRT's int8 kernels use this CPU's AMX tiles, which make small nets slower, and which no board has. "
    "EDGEPRESS_AMX=0 before the command measures without them."
)


def engine_notes(results: Sequence[Measurement], host: Mapping[str, Any]) -> list[str]:
    """Facts about engines that prevent wrong conclusions from the figures."""
    if host["machine"] not in X86:
        return []
    slow = dict.fromkeys(r.engine for r in results if r.scheme in INTEGER and r.speedup is not None and r.speedup < 1)
    notes = [
        f"{name} has fast int8 kernels for ARM, but not for x86."
        for name in slow
        if name in ENGINES and ENGINES[name].slow_int8_on_x86
    ]
    return [*notes, AMX] if host.get("amx") and "litert" in slow else notes


def _none(reason: str) -> Advice:
    return Advice(ship=None, engine=None, why=f"No file can be recommended: {reason}")


def _nearest_miss(results: Sequence[Measurement], max_drop_pp: float) -> Measurement | None:
    """The smallest file that only its interval disqualifies; if there is none, the file with the smallest drop."""
    missed = [r for r in results if r.drop_pp is not None and r.status != USABLE]
    within = [r for r in missed if r.drop_pp is not None and r.drop_pp < max_drop_pp]
    if within:
        return min(within, key=lambda r: r.size_bytes)
    return min(missed, key=lambda r: r.drop_pp or 0.0, default=None)


def _remedy(near: Measurement | None, results: Sequence[Measurement], count: int, max_drop_pp: float) -> str:
    """What makes a file qualify: more test images if its observed drop is within the limit, else a higher limit."""
    if near is None or near.drop_pp is None or near.drop_high_pp is None:
        return "No quantized file was measured."
    text = f"{Path(near.file).name} on {near.engine} drops {_drop(near)}."
    if near.drop_pp >= max_drop_pp:
        return f"{text} Loosen --max-drop or calibrate or train better."
    return (
        f"{text} About {_needed(near, results, count, max_drop_pp)} test images (there are {count}) would settle it if "
        f"the drop stays so, or --max-drop {math.ceil(near.drop_high_pp * 10) / 10:g}."
    )


def _needed(near: Measurement, results: Sequence[Measurement], count: int, max_drop_pp: float) -> str:
    """How many test images settle whether a file's drop is within the limit."""
    base = next((r for r in results if r.drop_low_pp == r.drop_high_pp and r.correct), None)
    if base is not None and near.correct:
        before, after = correct_items(base, count), correct_items(near, count)
        assert before is not None
        assert after is not None
        lost, gained = int((before & ~after).sum()), int((~before & after).sum())
        needed = items_to_rule_out(lost, gained, count, drop=max_drop_pp / 100)
        if needed is not None:
            return estimate(max(needed, count + 1))
    assert near.drop_high_pp is not None
    assert near.drop_pp is not None
    # Which items differ is not known. The interval's half width is proportional to 1/sqrt(count) for a constant share.
    half = count * ((near.drop_high_pp - near.drop_pp) / (max_drop_pp - near.drop_pp)) ** 2
    return str(math.ceil(half / 100) * 100)


def _drop(result: Measurement) -> str:
    if result.drop_low_pp == result.drop_high_pp:
        return "0 pp, being the baseline itself,"
    return f"{result.drop_pp:.2f} pp [{result.drop_low_pp:.2f}, {result.drop_high_pp:.2f}]"


def _speed(best: Measurement, host: Mapping[str, Any]) -> str:
    text = f"It takes {duration(best.p50_us)} (p50) on {host_title(host)}"
    if best.speedup_high is not None and best.speedup_high < 0.9:
        text += f", {1 / (best.speedup or 1):.1f} times the float file's (the table has faster ones)"
    text += "."
    if host["machine"] in X86:
        return f"{text} An x86 figure says little of a Raspberry Pi: time it there, too."
    return text
