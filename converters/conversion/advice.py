"""What to do about files that were refused, once all files of a conversion are made.

A process that makes files does not know which of the later ones will be refused, so it says only why there is no file.
What to try next is said here, in one place, from all of them: never a scheme that was refused as well, never data that
were given, never an option that was not given.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from edgepress.converters.proof.compare import is_fragile
from edgepress.converters.schemes import SCHEMES, Scheme, Target, finer
from edgepress.converters.variant import Variant

TUNE = "train its weights of 4 bits with `edgepress tune {model} --bits 4` (10 minutes by default)"
LOST_TO_TUNE = 0.01
"""Share of right answers, 0-1, from whose loss on a file of four bits is told to be tuned."""
LONGER = "train the source model longer, until small differences no longer decide its answers"


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a conversion was given, as far as advice depends on it.

    Attributes:
        target: What the files are for.
        data: Whether there were data.
        labels: Whether these data, or the model's own answers to them, tell what a difference costs; without classes,
            nothing does.
        own: Whether they are like the model's training data, as far as that is known.
        scaling: Whether options can say how its items, images, are scaled.
        repairs: Whether the graph's constants were allowed to change.
        tunable: The source model and the options that open it and its items, as a shell takes them, if `edgepress tune`
            may make it better; or "".
    """

    target: Target
    data: bool
    labels: bool
    own: bool
    scaling: bool
    repairs: bool
    tunable: str = ""


def with_advice(variants: Sequence[Variant], given: Given) -> list[Variant]:
    """The variants; a refused one with what to try next, unless its hint says so already.

    An accepted one has a note if the float file of its graph was refused, so that the two verdicts are explained.
    """
    refused = {SCHEMES[v.scheme].format: v for v in variants if SCHEMES[v.scheme].is_float32 and v.cause == "unlike"}
    advised = []
    for variant in variants:
        same = refused.get(SCHEMES[variant.scheme].format)
        if variant.cause:
            variant = dataclasses.replace(variant, hint=_hint(variant, variants, given))
        elif same is not None and variant.path is not None:
            note = f"it is made of the graph of {same.scheme}, which was refused; data with labels show what that costs"
            variant = dataclasses.replace(variant, notes=(*variant.notes, note))
        if variant.path is not None and given.tunable and _loses_by_four_bits(variant):
            lost = f"its 4-bit weights lose more than {100 * LOST_TO_TUNE:g} pp of right answers"
            note = f"{lost}: {TUNE.format(model=given.tunable)}"
            variant = dataclasses.replace(variant, notes=(*variant.notes, note))
        advised.append(variant)
    return advised


def _loses_by_four_bits(variant: Variant) -> bool:
    measured = variant.verification
    lost = None if measured is None else measured.lost
    return SCHEMES[variant.scheme].weight_bits == 4 and lost is not None and lost > LOST_TO_TUNE


def fragile_file(variants: Sequence[Variant]) -> Variant | None:
    """The file in 8 bits that is nearest to its source model, if that shows that the model is fragile."""
    eight_bits = [v for v in variants if _is_eight_bits(SCHEMES[v.scheme]) and v.verification is not None]
    nearest = max(eight_bits, key=lambda v: v.verification.agreement or 0.0 if v.verification else 0.0, default=None)
    return nearest if nearest and nearest.verification and is_fragile(nearest.verification) else None


def _is_eight_bits(scheme: Scheme) -> bool:
    return scheme.arithmetic == "int8" and scheme.weight_bits == 8


def _hint(variant: Variant, variants: Sequence[Variant], given: Given) -> str:
    scheme = SCHEMES[variant.scheme]
    steps = _steps(variant, scheme, variants, given)
    text = ", or ".join(steps) or "no scheme for this target rounds less"
    keep = "; --no-verify keeps the file anyway" if variant.cause == "unlike" else ""
    return f"{text[0].upper()}{text[1:]}{keep}."


def _steps(variant: Variant, scheme: Scheme, variants: Sequence[Variant], given: Given) -> list[str]:
    """What may help, the likeliest first."""
    if scheme.is_float32:
        saturates = "if the model saturates on these items, check --input-range; else "
        steps = [] if given.labels else ["give data with labels, which show what the difference costs"]
        return [*steps, f"{saturates * (given.scaling and not given.own)}the conversion is at fault: please report it"]
    steps = []
    if variant.cause == "scales":
        steps += [] if given.repairs else ["leave out --no-repairs, so that channels are equalized"]
    elif fragile_file(variants) is not None:
        steps.append(LONGER)
    elif scheme.weight_bits == 4 and given.tunable:
        steps.append(TUNE.format(model=given.tunable))
    elif not given.own and (scheme.calibrated or not given.data):
        steps.append("give data like its training data")
    rejected = [each.scheme for each in variants if each.path is None]
    written = [each.scheme for each in variants if each.path is not None]
    if better := _finer(variant, given.target, rejected):
        steps.append(f"take {better}, which was written" if better in written else f"convert it to {better}")
    return steps


def _finer(variant: Variant, target: Target, rejected: Sequence[str]) -> str:
    """The scheme to try next; of scales that are too far apart, one that computes in float."""
    name = finer(SCHEMES[variant.scheme], target, rejected=rejected)
    while variant.cause == "scales" and name and SCHEMES[name].calibrated:
        name = finer(SCHEMES[name], target, rejected=rejected)
    return name
