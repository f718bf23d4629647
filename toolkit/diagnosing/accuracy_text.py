"""A diagnosis of accuracy in plain sentences: what is wrong, where, and what to try first."""

from __future__ import annotations

from collections.abc import Sequence

from edgepress.converters.diagnosis.layer import Layer
from edgepress.converters.kept import layer_name
from edgepress.toolkit.diagnosing.accuracy_result import AccuracyDiagnosis
from edgepress.toolkit.text import interval, percent, plural

SOUND = 0.995
FEW_ITEMS = 5
"""Items of each class below which a sentence says that there are few."""
WRONG_DATA = 0.5
"""Accuracy of the model below which its labels are doubted, where chance is far lower."""
APART = 0.05
"""Difference between the agreement of the file and of its simulation from which on the engine is doubted."""


def sentences(found: AccuracyDiagnosis, labels: Sequence[str]) -> str:
    """What was found, the most important first."""
    parts = [_loss(found)]
    doubt = _data_doubt(found, labels)
    if doubt:
        parts.append(doubt)
    sound = found.agreement is not None and found.agreement >= SOUND
    if found.layers:
        worst = found.layers[0]
        if sound and not worst.fault:
            parts.append("Nothing needs to be mended.")
            return " ".join(parts)
        parts.append(f"{_cause(worst)}.")
    apart = found.simulated_agreement is not None and found.agreement is not None
    if apart and (found.simulated_agreement or 0) - (found.agreement or 0) > APART:
        parts.append(
            f"Its layers alone would leave {percent(found.simulated_agreement, '.1f')}: the engine computes something "
            "else than the file says."
        )
    if found.remedies:
        first = found.remedies[0]
        tried = ""
        if first.tried:
            tried = f" (tried: agreement {percent(first.before, '.1f')} → {percent(first.agreement, '.1f')})"
        parts.append(f"Try first to {first.text}: `{first.command}`{tried}.")
    return " ".join(parts)


def _loss(found: AccuracyDiagnosis) -> str:
    if found.agreement is None:
        return f"The file's answers to {plural(found.items, 'item')} were compared with the model's."
    text = f"The file gives the model's label for {percent(found.agreement, '.1f')} of {plural(found.items, 'item')}"
    if found.accuracy is None:
        return f"{text}."
    lost = interval(found.drop_pp, found.drop_low_pp, found.drop_high_pp, " pp")
    both = f"{percent(found.model_accuracy)} → {percent(found.accuracy)}"
    return f"{text}; accuracy {both}, a drop of {lost}."


def _data_doubt(found: AccuracyDiagnosis, labels: Sequence[str]) -> str:
    """What is wrong with the data, if the model itself fails on them or there are few."""
    if found.model_accuracy is not None and len(labels) > 2 and found.model_accuracy < WRONG_DATA:
        return (
            f"The model itself is right in {percent(found.model_accuracy, '.1f')} only: the labels or the preparation "
            "of these data are not those that it was trained with."
        )
    if found.classes and found.items < FEW_ITEMS * len(labels):
        return f"{plural(found.items, 'item')} are few for {len(labels)} classes, so figures of classes prove little."
    return ""


def short(name: str) -> str:
    """The name of a layer without those of the model and of its operations."""
    return layer_name(name).rpartition("/")[2] or name


def _cause(layer: Layer) -> str:
    """What a layer does, one sentence without its end."""
    name = f"{short(layer.name)} ({layer.kind})"
    share = f"makes {percent(layer.cost, '.0f')} of the error"
    match layer.fault:
        case "range":
            wider = 1 / max(layer.range_used or 0.0, 1e-3)
            return f"{name} {share}: its range is {wider:.1f} times as wide as its values, and most codes are not used"
        case "outlier":
            return (
                f"{name} {share}: its channel {layer.widest} has {layer.spread:.0f} times the range of the median "
                "channel, and few codes are left for the others"
            )
        case "clipped":
            return f"{name} {share}: {percent(layer.clipped, '.1f')} of its values are beyond its range"
        case "weights":
            return f"{name} {share}: weights of a channel are wrong by {percent(layer.weights_error, '.0f')}"
    if layer.from_weights > 1 / 2:
        return f"No layer stands out by a fault; {name} {share}, most of it by the rounding of its weights"
    return f"No layer stands out by a fault; {name} {share}, most of it by the rounding of its output"
