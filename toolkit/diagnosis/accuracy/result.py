"""The result of a diagnosis of accuracy, as frozen records that become one JSON document, and in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgepress.converters.diagnosis.layer import QuantizedLayer
from edgepress.converters.float_layers import layer_name
from edgepress.toolkit.reports.notebooks.printed import Printed
from edgepress.toolkit.reports.notebooks.views import accuracy_diagnosis_html
from edgepress.toolkit.results.records import round_floats
from edgepress.toolkit.text import interval, percent, plural, short_repr

SOUND = 0.995
"""Share of labels in which the files agree from which the quantized one is called sound, 0-1."""
FEW_ITEMS = 5
"""Items of each class below which a sentence says that there are few."""
CHANCE = 2
"""Standard errors that accuracy differs by, if items are others."""
WRONG_DATA = 0.5
"""Accuracy of the model below which its labels are doubted, where chance is far lower."""


@dataclass(frozen=True, kw_only=True)
class ClassLoss:
    """What a file loses of one class.

    Attributes:
        label: Name of the class.
        support: Number of items of this class.
        model: Share of them that the model classifies correctly, 0-1.
        file: The same of the file.
        drop_pp, drop_low_pp, drop_high_pp: The difference, percentage points, with its 95 % confidence interval
            (paired), which holds for this class alone.
    """

    label: str
    support: int
    model: float
    file: float
    drop_pp: float
    drop_low_pp: float | None
    drop_high_pp: float | None


@dataclass(frozen=True, kw_only=True)
class Fix:
    """What may fix a file.

    Attributes:
        text: What it is, such as "equalize its channels".
        command: The command.
        tried: Whether it was tried.
        agreement: Share of the items that get the model's label from the file that it makes, 0-1; None if not tried.
        before: The same of the diagnosed file.
    """

    text: str
    command: str
    tried: bool = False
    agreement: float | None = None
    before: float | None = None


@dataclass(frozen=True, kw_only=True)
class AccuracyDiagnosis(Printed):
    """Why a quantized file answers otherwise than its model.

    Attributes:
        model: The model.
        file: The file.
        scheme: The file's scheme; "" if others made it.
        engine: What ran it.
        data: The data set.
        items: Number of items that both answered.
        accuracy, model_accuracy: Shares of correct labels of the file and of the model, 0-1; None without labels.
        drop_pp, drop_low_pp, drop_high_pp: The difference, percentage points, with its 95 % confidence interval.
        agreement: Share of the items with the same label from both, 0-1; None if the answers are not scores of labels.
        simulated_agreement: The same if each layer is rounded as the file says, computed in float, on the items of the
            layers.
        layer_agreement: The file's agreement on those items.
        engine_differs: Whether the engine computes something other than the file says: more items keep their label in
            the simulation than by chance, and it has all of the file's weights.
        trained_accuracy: The model's accuracy on its own test split, 0-1, as its contract says; None if it does not.
        text: What was found and what to try first, in a few sentences.
        layers: The layers: those with a fault, which can be fixed, first, and then the costliest.
        layer_items: Number of items on which the layers were measured.
        classes: The classes, that which loses most first.
        fixes: What may fix it, the first to try first.
        notes: What a reader must know beside that.
    """

    model: str
    file: str
    scheme: str
    engine: str
    data: str
    items: int
    accuracy: float | None
    model_accuracy: float | None
    drop_pp: float | None
    drop_low_pp: float | None
    drop_high_pp: float | None
    agreement: float | None
    simulated_agreement: float | None
    text: str
    layers: tuple[QuantizedLayer, ...]
    layer_items: int
    classes: tuple[ClassLoss, ...]
    fixes: tuple[Fix, ...]
    notes: tuple[str, ...] = ()
    layer_agreement: float | None = None
    engine_differs: bool = False
    trained_accuracy: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON document, rounded to six significant digits."""
        return {name: round_floats(value) for name, value in asdict(self).items()}

    __repr__ = short_repr

    def _repr_html_(self) -> str:
        return accuracy_diagnosis_html(self.to_dict())


def sentences(diagnosis: AccuracyDiagnosis, labels: Sequence[str]) -> str:
    """What was found, the most important first."""
    parts = [_loss(diagnosis)]
    doubt = _data_doubt(diagnosis, labels)
    if doubt:
        parts.append(doubt)
    sound = diagnosis.agreement is not None and diagnosis.agreement >= SOUND
    if diagnosis.layers:
        worst = diagnosis.layers[0]
        if sound and not worst.fault:
            parts.append("The file needs no fix.")
            return " ".join(parts)
        parts.append(f"{_cause(worst)}.")
    if diagnosis.engine_differs:
        parts.append(
            f"Of {plural(diagnosis.layer_items, 'item')}, its layers alone would leave "
            f"{percent(diagnosis.simulated_agreement, '.1f')} and the engine leaves "
            f"{percent(diagnosis.layer_agreement, '.1f')}: it computes something other than the file says."
        )
    if diagnosis.drop_pp is not None and diagnosis.drop_pp <= 0 and not doubt and not sound:
        parts.append("These items show no loss, so a fix is only worth trying if more items do.")
    if diagnosis.fixes:
        first = diagnosis.fixes[0]
        tried = ""
        if first.tried:
            tried = f" (tried: agreement {percent(first.before, '.1f')} → {percent(first.agreement, '.1f')})"
        parts.append(f"Try first to {first.text}: `{first.command}`{tried}.")
    return " ".join(parts)


def _loss(diagnosis: AccuracyDiagnosis) -> str:
    if diagnosis.agreement is None:
        return f"The file's answers to {plural(diagnosis.items, 'item')} were compared with the model's."
    items = plural(diagnosis.items, "item")
    text = f"The file gives the model's label for {percent(diagnosis.agreement, '.1f')} of {items}"
    if diagnosis.accuracy is None:
        return f"{text}."
    lost = interval(diagnosis.drop_pp, diagnosis.drop_low_pp, diagnosis.drop_high_pp, " pp")
    both = f"{percent(diagnosis.model_accuracy)} → {percent(diagnosis.accuracy)}"
    return f"{text}; accuracy {both}, a drop of {lost}."


def _data_doubt(diagnosis: AccuracyDiagnosis, labels: Sequence[str]) -> str:
    """What is wrong with the data, if the model itself fails on them or there are few."""
    right, trained = diagnosis.model_accuracy, diagnosis.trained_accuracy
    if right is not None and len(labels) > 2 and right < WRONG_DATA:
        chance = CHANCE * math.sqrt(right * (1 - right) / diagnosis.items)
        if trained is None or right + chance < trained:
            once = "" if trained is None else f", and in {percent(trained, '.1f')} after its training"
            return (
                f"The model itself is right in {percent(right, '.1f')} only{once}: check that it was trained "
                "with these labels and this preparation of the data."
            )
    if diagnosis.classes and diagnosis.items < FEW_ITEMS * len(labels):
        items = plural(diagnosis.items, "item")
        return f"{items} are few for {len(labels)} classes, so figures of classes prove little."
    return ""


def short(name: str) -> str:
    """The name of a layer without those of the model and of its operations."""
    return layer_name(name).rpartition("/")[2] or name


def _cause(layer: QuantizedLayer) -> str:
    """What a layer does, one sentence without its end."""
    name = f"{short(layer.name)} ({layer.kind})"
    share = f"makes {percent(layer.cost, '.0f')} of the error"
    match layer.fault:
        case "range":
            wider = 1 / max(layer.range_used or 0.0, 1e-3)
            return f"{name} {share}: its range is {wider:.1f} times as wide as its values, and most codes are not used"
        case "zero point":
            return f"{name} {share}: its zero point keeps codes for values that it never has, and others lack them"
        case "outlier":
            return (
                f"{name} {share}: its channel {layer.widest} has {layer.spread:.0f} times the range of the median "
                "channel, and few codes are left for the others"
            )
        case "clipped":
            return f"{name} {share}: its values reach {layer.reach or 0:.1f} times as far as its range"
        case "bias":
            steps = f"{layer.bias_steps:.0f} steps of its output"
            return f"{name} {share}: a bias is {steps} from the model's, and no correction of biases makes that"
        case "weights" if layer.weights_steps:
            steps = f"{layer.weights_steps:.0f} steps"
            return f"{name} {share}: a weight is {steps} from the model's, and rounding makes one at most"
        case "weights":
            return f"{name} {share}: weights of a channel are wrong by {percent(layer.weights_error, '.0f')}"
    return f"No layer stands out by a fault; {name} {share}{_source(layer)}"


def _source(layer: QuantizedLayer) -> str:
    """Where most of the error that a layer adds to its own output comes from, as far as that is known."""
    if layer.weights_error is None or not (layer.weights_error or layer.from_weights):  # none, or the file's were taken
        known = layer.weights_error is None and not layer.from_weights
        return _by_output(layer) if known else ""
    if layer.from_weights > 1 / 2:
        return ", and most of what it adds is by the rounding of its weights and biases"
    return _by_output(layer)


def _by_output(layer: QuantizedLayer) -> str:
    if layer.stored == "float32":
        return ""
    values = "its output while the file runs" if layer.stored == "dynamic" else "its output"
    return f", and most of what it adds is by the rounding of {values}"
