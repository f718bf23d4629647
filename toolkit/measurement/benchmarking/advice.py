"""Which file to ship, by one rule, with the reason in words.

The rule (`edgepress.toolkit.stats.choice`): a file qualifies if the accuracy drop, measured on its engine, is within
the limit with the wanted probability (`edgepress.toolkit.stats.choice`). Of those that qualify, only the front of
size and latency counts, and of it the preference chooses one; a file that is slower than the float file only if size is
preferred. Unless engines are named, files are chosen for those that bundles install. Of files without labels, SQNR to
the baseline's outputs takes the place of the probability: at least `MIN_SQNR_DB`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgepress.runtime import ENGINES
from edgepress.toolkit.machine.host import X86, host_title
from edgepress.toolkit.measurement.benchmarking.expected import missing_items, row_name, unsure_row
from edgepress.toolkit.measurement.benchmarking.options import MAX_DROP_PP
from edgepress.toolkit.results.records import (
    DROP,
    NO_BASELINE,
    NOT_COMPARABLE,
    UNPROVEN,
    USABLE,
    Advice,
    Benchmark,
    Measurement,
)
from edgepress.toolkit.stats.choice import CONFIDENCE, SLOWER, Costs, Rule
from edgepress.toolkit.stats.metrics import near_largest
from edgepress.toolkit.text import duration, interval, sure

INTERVAL_SURE = 0.975
"""How sure the upper end of a 95 % interval is by itself."""
MIN_SQNR_DB = 20.0
"""Smallest SQNR of a usable file without labels, dB: its error is a tenth of the outputs, as root mean squares."""


def choose(
    results: Sequence[Measurement],
    *,
    host: Mapping[str, Any],
    count: int,
    max_drop_pp: float = MAX_DROP_PP,
    rule: Rule = Rule(),  # noqa: B008 - frozen
    more: int = 0,
    engines: Sequence[str] = (),
) -> Advice:
    """Which of the measured files to ship.

    Args:
        results: Measurements, all compared with the same baseline.
        host: The host that they were measured on (`describe_host`).
        count: Number of test items.
        max_drop_pp: Limit of the drop, percentage points.
        rule: How sure a file must be, and what is preferred.
        more: Number of further items without labels.
        engines: The engines that a file may be chosen for; empty: all that were measured.
    """
    advice = _of_weak_source(results, rule) or _choose(
        rows_of(results, engines), host, count=count, max_drop_pp=max_drop_pp, rule=rule, more=more
    )
    return dataclasses.replace(advice, engines=tuple(engines))


def _of_weak_source(results: Sequence[Measurement], rule: Rule) -> Advice | None:
    """No file, if the float file itself answers hardly better than always the largest class; labels have none."""
    base = next((r for r in results if _is_baseline(r) and r.per_class and r.exact_match is None), None)
    if base is None:
        return None
    support = np.array([c.support for c in base.per_class])
    right = np.rint([c.recall * c.support for c in base.per_class]).astype(np.int64)
    near = near_largest(support, right)
    if near is None:
        return None
    answers = near.in_words(int(support.sum()), [c.label for c in base.per_class])
    return _none(f"{row_name(base)}, which the others are compared with, {answers}", rule)


def shipping_engines(results: Sequence[Measurement]) -> tuple[str, ...]:
    """The engines that a bundle of the measured files installs: of each format, the first one that was measured.

    Empty if none was measured; then files are chosen for the engines that were.
    """
    measured = {r.engine for r in results}
    first: dict[str, str] = {}
    for name, engine in ENGINES.items():
        if engine.bundled and name in measured:
            for format in engine.formats:
                first.setdefault(format, name)
    return tuple(dict.fromkeys(first.values()))


def rows_of(results: Sequence[Measurement], engines: Sequence[str]) -> list[Measurement]:
    """The rows of some engines, and those of no engine, which could not be opened; no engines: all rows."""
    return [r for r in results if not engines or r.engine in ("", *engines)]


def _choose(
    results: Sequence[Measurement], host: Mapping[str, Any], *, count: int, max_drop_pp: float, rule: Rule, more: int
) -> Advice:
    """Which of the files on the engines that count to ship."""
    if any(r.max_error is not None for r in results):
        return _by_error(results, host, count, rule)
    if all(r.drop_high_pp is None for r in results):
        if any(r.accuracy is not None or r.status == NO_BASELINE for r in results):
            make = "Make a float32 file beside these: edgepress convert MODEL --to tflite-float32"
            return _none(f"no float file was measured, so no drop and no error is known. {make}", rule)
        return _none("no file could be measured.", rule)
    costs = costs_of(results)
    chosen = rule.choose(costs)
    ship = None if chosen is None else results[chosen]
    unsure = unsure_row(results, costs, rule, max_drop_pp, ship=ship)
    needed = (
        missing_items(unsure, chosen=unsure is ship, count=count, max_drop_pp=max_drop_pp, rule=rule, more=more)
        if unsure is not None
        else ""
    )
    about: dict[str, Any] = {"confidence": rule.confidence, "prefer": rule.prefer}
    if unsure is not None:
        about |= {"unsure_file": unsure.file, "unsure_engine": unsure.engine}
    if ship is None:
        none = f"of no file is it {sure(rule.confidence)} sure that it loses less than {max_drop_pp:g} pp."
        help = needed or "Loosen --max-drop or calibrate or train better."
        return Advice(**vars(_none(f"{none} {_nearest(results)}{help}", rule)) | about)
    items = f"{count} test items"
    if more and ship.more_differing is not None:
        items += f"; it answers {ship.more_differing} of {more} further ones differently"
    why = [_how_sure(ship, max_drop_pp, items), _rank(ship, results, rule, costs), needed]
    why.append(_speed(ship, host) if ship.p50_us is not None else "")
    text = " ".join(filter(None, why))
    return Advice(ship=ship.file, engine=ship.engine, why=text, probability=ship.probability, **about)


def advice_of(result: Benchmark, rule: Rule) -> Advice | None:
    """Which file of an earlier benchmark to ship, by a rule of now; None if it does not say how sure its files are."""
    rows = [r for r in result.leading() if r.host in ("", result.host["name"])]
    if all(r.probability is None and r.max_error is None for r in rows):
        return None
    count = int(result.data["count"])
    more = int((result.more or {}).get("count", 0))
    limit = result.max_drop_pp
    engines = result.advice.engines
    return choose(rows, host=result.host, count=count, max_drop_pp=limit, rule=rule, more=more, engines=engines)


def front_of(result: Benchmark, host: str = "") -> list[Measurement]:
    """The rows of a host from which the rule chooses: those that qualify and that no other one beats in both costs.

    The file to ship is always among them, whatever rule chose it. In a result of an edgepress that did not say how sure
    its files are, those qualify whose drop is proven.

    Args:
        result: The benchmark.
        host: Name of the host; empty: the benchmark's own.
    """
    names = ("", result.host["name"]) if host in ("", result.host["name"]) else (host,)
    rows = rows_of([r for r in result.leading() if r.host in names], result.advice.engines if "" in names else ())
    costs = costs_of(rows)
    if all(r.probability is None and r.max_error is None for r in rows):
        costs = [c._replace(probability=float(r.status == USABLE)) for c, r in zip(costs, rows, strict=True)]
    confidence = CONFIDENCE if result.advice.confidence is None else result.advice.confidence
    front = {*Rule(confidence).front(costs)}
    ship = (result.advice.ship, result.advice.engine)
    return [r for n, r in enumerate(rows) if n in front or (r.file, r.engine) == ship]


def costs_of(results: Sequence[Measurement]) -> list[Costs]:
    """What each file takes, as the rule compares it; a file that failed has no probability.

    A file whose measured drop is beyond the limit does not qualify, however small the sample is. The latency of a board
    that was throttled or busy does not count. Without labels, the probability is 1 or 0.
    """
    costs = []
    for r in results:
        by_error = float(r.status == USABLE) if r.max_error is not None else None
        probability = None if r.failed or r.status.endswith(DROP) else r.probability if by_error is None else by_error
        latency = None if r.status.startswith(NOT_COMPARABLE) else r.p50_us
        slower = latency is not None and r.speedup_high is not None and r.speedup_high < SLOWER
        costs.append(Costs(r.size_bytes, latency, probability, slower))
    return costs


def _by_error(results: Sequence[Measurement], host: Mapping[str, Any], count: int, rule: Rule) -> Advice:
    """Which file without labels to ship."""
    bound = f"an SQNR of {MIN_SQNR_DB:g} dB"
    fit = [r for r in results if r.status == USABLE]
    if all(r.max_error == 0 for r in fit):  # the baseline is always usable
        others = [r for r in results if r.max_error]
        if not others:
            return _none("no other file than the baseline was measured.", rule)
        near = max(others, key=lambda r: -math.inf if r.sqnr_db is None else r.sqnr_db)
        noise = "no signal" if near.sqnr_db is None else f"{near.sqnr_db:.1f} dB"
        return _none(
            f"no quantized file reaches {bound} to the baseline; the nearest, {row_name(near)}, "
            f"reaches {noise}. Calibrate with more data, or measure what the error means for your task.",
            rule,
        )
    costs = costs_of(results)
    chosen = rule.choose(costs)
    assert chosen is not None
    best = results[chosen]
    reached = "equals the baseline" if best.sqnr_db is None else f"reaches {best.sqnr_db:.1f} dB"
    why = [
        f"{row_name(best)} {reached} on {count} items, compared with the baseline's outputs ({bound} is enough); the "
        f"largest error is {best.max_error:.2g}.",
        _rank(best, results, rule, costs),
        "Only a test of your task shows what such an error means for it.",
    ]
    if best.p50_us is not None:
        why.append(_speed(best, host))
    text = " ".join(why)
    return Advice(ship=best.file, engine=best.engine, why=text, confidence=rule.confidence, prefer=rule.prefer)


def _how_sure(ship: Measurement, max_drop_pp: float, items: str) -> str:
    """The sentence with the probability."""
    if _is_baseline(ship):
        return f"{row_name(ship)} is the baseline itself, so it loses nothing."
    drop = f"drop {interval(ship.drop_pp, ship.drop_low_pp, ship.drop_high_pp, ' pp')} on {items}{_surer(ship)}"
    return f"{row_name(ship)}: {sure(ship.probability)} sure that it loses less than {max_drop_pp:g} pp ({drop})."


def _surer(ship: Measurement) -> str:
    """Why a file is surer to keep the limit than the interval beside it says; empty if it is not."""
    if ship.status != UNPROVEN or (ship.probability or 0.0) <= INTERVAL_SURE:
        return ""
    if ship.expected_lost is None:
        return ", which alone leave more doubt: a file that only rounds gains items about as often as it loses some"
    return ", which alone leave more doubt: the float file's own probabilities say that what differs costs little"


def _rank(ship: Measurement, results: Sequence[Measurement], rule: Rule, costs: Sequence[Costs]) -> str:
    """Why it was chosen of those that qualify."""
    qualified = rule.qualified(costs)
    files = len({r.file for r in results})
    fit = len({results[n].file for n in qualified})
    timed = any(costs[n].latency is not None for n in qualified)
    base = next((r for r in results if _is_baseline(r) or r.max_error == 0), None)
    ratios = ""
    if base is not None and base is not ship and base.size_bytes:
        ratios = f": {ship.size_bytes / base.size_bytes:.2f} times the baseline's size"
        if timed and ship.p50_us and base.p50_us:
            # That of the table, which compares the turns of each round.
            times = 1 / ship.speedup if ship.speedup else ship.p50_us / base.p50_us
            ratios += f" and {times:.2f} times its latency"
    if fit == 1:
        return f"It is the only one of {files} files that qualifies{ratios}."
    faster = {results[n].file for n in qualified if not costs[n].slower}
    which = f"{fit} of {files} files qualify; of these, it"
    if rule.prefer != "size" and 0 < len(faster) < fit:
        slower = f"{fit} of {files} files qualify, {fit - len(faster)} of them slower than the float file"
        if len(faster) == 1:
            return f"{slower}; it is the other one{ratios}."
        which = f"{slower}; of the others, it"
    best = {"balanced": "has the least product of size and latency", "latency": "is the fastest"}
    what = best.get(rule.prefer, "is the smallest") if timed else "is the smallest (no latency counts)"
    return f"{which} {what}{ratios}."


def _nearest(results: Sequence[Measurement]) -> str:
    """The file with the smallest drop, in a sentence."""
    known = [r for r in results if r.drop_pp is not None and not r.failed]
    if not known:
        return "No quantized file was measured. "
    near = min(known, key=lambda r: r.drop_pp or 0.0)
    return f"{row_name(near)} drops {interval(near.drop_pp, near.drop_low_pp, near.drop_high_pp, ' pp')}. "


def _is_baseline(row: Measurement) -> bool:
    return row.drop_pp is not None and row.drop_low_pp == row.drop_high_pp


def _none(reason: str, rule: Rule) -> Advice:
    why = f"No file can be recommended: {reason}"
    return Advice(ship=None, engine=None, why=why, confidence=rule.confidence, prefer=rule.prefer)


def _speed(best: Measurement, host: Mapping[str, Any]) -> str:
    text = f"It takes {duration(best.p50_us)} (p50) on {host_title(host)}"
    if best.speedup_high is not None and best.speedup_high < 0.9:
        text += f", {1 / (best.speedup or 1):.1f} times the float file's (the table has faster ones)"
    text += "."
    if host["machine"] in X86:
        return f"{text} An x86 figure says little of a Raspberry Pi: time it there, too."
    return text
