"""The result of a diagnosis of accuracy, as frozen records that become one JSON document."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from edgepress.converters.diagnosis.layer import Layer
from edgepress.toolkit.notebooks.views import accuracy_diagnosis_html
from edgepress.toolkit.results.records import rounded


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
class Remedy:
    """What may mend a file.

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
class AccuracyDiagnosis:
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
        simulated_agreement: The same if each layer is rounded as the file says, computed in float; far from
            `agreement`, the engine computes something else than the file says.
        text: What was found and what to try first, in a few sentences.
        layers: The layers: those with a fault, which can be mended, first, and then the costliest.
        layer_items: Number of items on which the layers were measured.
        classes: The classes, that which loses most first.
        remedies: What may mend it, the first to try first.
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
    layers: tuple[Layer, ...]
    layer_items: int
    classes: tuple[ClassLoss, ...]
    remedies: tuple[Remedy, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON document, rounded to six significant digits."""
        return {name: rounded(value, lambda v: float(f"{v:.6g}")) for name, value in asdict(self).items()}

    def _repr_html_(self) -> str:
        return accuracy_diagnosis_html(self.to_dict())
