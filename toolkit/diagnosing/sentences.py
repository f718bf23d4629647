"""A diagnosis in plain sentences, the most important first."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from edgepress.toolkit.diagnosing.diagnosis import CALL, Part
from edgepress.toolkit.diagnosing.sorting import DEPTHWISE, PRODUCT, Kernel, reached
from edgepress.toolkit.results.figures import Finding
from edgepress.toolkit.text import percent

TOLD = 2
"""Findings that are put into words; all are in the table."""
ENOUGH = 0.5
"""Share of the products' time that must have a rate, or none is reported for all of them."""


def summary(findings: Sequence[Finding], parts: Sequence[Part], kernels: Sequence[Kernel]) -> str:
    """What was found, in a few sentences: what takes most time, what mends it, and how the rest does."""
    if not any(k.time_us for k in kernels):
        return "Every kernel takes less than the profiler's microsecond: nothing can be said of where the time goes."
    if not findings:
        return f"Nothing stands out: {_products(parts, kernels)}."
    told = list(findings[:TOLD])
    if all(not f.remedy for f in told):
        told += [f for f in findings if f.remedy][:1]
    sentences = [_sentence(list(alike)) for _, alike in groupby(told, key=lambda f: (f.remedy, f.command))]
    if rest := len(findings) - len(told):
        sentences.append(f"{rest} smaller {'finding' if rest == 1 else 'findings'} below.")
    return " ".join(sentences)


def _sentence(alike: Sequence[Finding]) -> str:
    """Findings with the same remedy, in one sentence."""
    first, *others = alike
    goes = [f"{_share(first.share)} of the time goes to {first.text}"]
    goes += [f"{_share(one.share)} to {one.text}" for one in others]
    remedy = f"{first.remedy}: `{first.command}`" if first.remedy else "nothing is known to mend that"
    return f"{', and '.join(goes)}; {remedy}."


def _products(parts: Sequence[Part], kernels: Sequence[Kernel]) -> str:
    """How much of the time goes to products, and how close they come to the CPU's reach."""
    products = [k for k in kernels if k.sort in (PRODUCT, DEPTHWISE)]
    taken = sum(k.time_us for k in products)
    share = sum(p.share for p in parts if p.work in (PRODUCT, DEPTHWISE))
    text = f"{_share(share)} of the time is in convolutions and dense layers"
    rated = sum(k.time_us for k in products if k.share_of_reach is not None)
    reach = reached(products)
    if reach is None or rated < ENOUGH * taken:
        return f"{text}, whose kernels are too short, or too little known, to be compared with what this CPU reaches"
    other = max((p for p in parts if p.work not in (PRODUCT, DEPTHWISE)), key=lambda p: p.share, default=None)
    also = f", {_share(other.share)} {'is' if other.work == CALL else 'in'} {other.work}" if other else ""
    return f"{text} at {_share(reach)} of what this CPU reaches in such work{also}"


def _share(share: float) -> str:
    return percent(share, ".0f")
