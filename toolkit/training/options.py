"""The options of `train`, declared once for the public function and the command line; `RunOptions` are of all runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from edgepress.toolkit.data.objects import Model
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.option_records import Setting, check_ranges, record
from edgepress.toolkit.training.batches import AUGMENTATIONS
from edgepress.toolkit.training.nets.architectures import ARCHITECTURES
from edgepress.toolkit.training.nets.options import BaseNet

TRUST_HELP = "Run code inside the model file: Lambda layers, and a SavedModel that may touch files or the network"
AUGMENTATION = partial(
    Setting,
    "Augmentation of the training items; auto chooses by the kind of data",
    more="docs/training.md lists them",
    typed=Literal[tuple(AUGMENTATIONS)],
)
Net = partial(Setting, panel="Network")
Fit = partial(Setting, panel="Training")
OfNet = partial(Net, show_default="set by the architecture")
OfFit = partial(Fit, show_default="set by the architecture")
_DEPTHS = ", ".join(f"{r.name}: {' or '.join(map(str, r.depths))}" for r in ARCHITECTURES.values() if r.depths)
_WITH_WIDTH = ", ".join(r.name for r in ARCHITECTURES.values() if r.width)
RECORDED = (
    *("epochs", "batch_size", "learning_rate", "class_weights", "augmentation"),
    *("width", "depth", "dropout", "freeze", "seed", "teacher"),
)
"""Options that a run's file records; those that are added later are recorded if they are given."""


class RunArguments(TypedDict, total=False):
    """The arguments of functions that make `RunOptions`."""

    resume: bool
    overwrite: bool


class TrainingArguments(RunArguments, total=False):
    """The arguments of `train` that make `TrainingOptions`."""

    out: str | Path | None
    augmentation: str
    width: float | None
    depth: int | None
    dropout: float | None
    weights: str | Path | None
    base: Model | BaseNet | None
    features: str
    freeze: bool
    continued: bool
    teacher: Model | None
    trust: bool
    epochs: int | None
    batch_size: int | None
    learning_rate: float | None
    patience: int | None
    minutes: float | None
    class_weights: bool
    seed: int


@record(RunArguments)
@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What happens to a run that the folder holds."""

    resume: Annotated[
        bool,
        Setting(
            "Resume an interrupted run",
            more="The result of a finished run is returned; an empty folder starts one",
            words=("--resume",),
        ),
    ] = False
    overwrite: Annotated[bool, Setting("Replace a run that the folder holds", words=("--overwrite",))] = False

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.resume and self.overwrite:
            raise InputError("resume and overwrite exclude each other.", "Give only one of --resume and --overwrite.")


@record(TrainingArguments)
@dataclass(frozen=True, kw_only=True)
class TrainingOptions(RunOptions):
    """How a net is made and trained."""

    out: Annotated[
        str | Path | None,
        Setting(
            "Folder of the run",
            more="The model, its metrics, history and plots are written there",
            show_default="runs/DATA-ARCH",
            typed=Path | None,
        ),
    ] = None
    augmentation: Annotated[str, AUGMENTATION(panel="Images")] = "auto"
    width: Annotated[float | None, OfNet(f"Multiplier of the number of channels ({_WITH_WIDTH})")] = None
    depth: Annotated[int | None, OfNet(f"Number of layers ({_DEPTHS})")] = None
    dropout: Annotated[float | None, OfNet("Dropout rate before the classifier")] = None
    weights: Annotated[
        str | Path | None,
        Net(
            "Initial weights: auto (those that come with edgepress), none, imagenet, or a .keras or .h5 file",
            more="None is none",
            typed=str,
        ),
    ] = "auto"
    base: Annotated[
        Model | BaseNet | None,
        Net(
            "Begin with this classifier of any format, instead of --arch and --weights",
            more="A `.keras`, `.h5`, `.hdf5`, `.tflite` (float or quantized) or `.onnx` file, a SavedModel folder, or "
            "a run's folder. The result is a float `.tflite`",
            words=("--from",),
            metavar="MODEL",
            typed=str | None,
        ),
    ] = None
    features: Annotated[
        str, Net("Tensor of the features of --from; default: what its last layer reads", show_default=False)
    ] = ""
    freeze: Annotated[bool, Net("Train only the classifier; needs weights", words=("--freeze",))] = False
    continued: Annotated[bool, Net("Train the model of `weights` on, classifier included", command_line=False)] = False
    teacher: Annotated[
        Model | None,
        Fit(
            "Learn from the answers of this classifier, too (distillation)",
            more="It is of the same labels, and a file or folder as for `base`",
            metavar="MODEL",
            typed=str | None,
        ),
    ] = None
    trust: Annotated[bool, Fit(f"{TRUST_HELP}; for --from and --teacher", words=("--trust",))] = False
    epochs: Annotated[int | None, OfFit("Passes over the training split", min=1)] = None
    batch_size: Annotated[int | None, OfFit("Items in a training step", min=1)] = None
    learning_rate: Annotated[
        float | None, OfFit("Initial learning rate of Adam, with cosine decay to 0", above=0, below=math.inf)
    ] = None
    patience: Annotated[
        int | None,
        Fit(
            "Stop after this many epochs without better validation accuracy; 0: never stop early",
            more="None is 0",
            min=0,
            typed=int,
        ),
    ] = 15
    minutes: Annotated[
        float | None,
        Fit("Time for training: fewer epochs, or only the last layers of a pre-trained net", above=0, below=1e5),
    ] = None
    class_weights: Annotated[
        bool, Fit("Give rare classes more weight", more="Not of multi-label data", words=("--class-weights",))
    ] = False
    seed: Annotated[int, Fit("Random seed; on one machine, the same seed gives the same weights", min=0)] = 0

    @property
    def recorded(self) -> dict[str, Any]:
        """What a run's file records of them."""
        later = {name: value for name in ("continued", "minutes") if (value := getattr(self, name))}
        return {name: getattr(self, name) for name in RECORDED} | {"patience": self.patience or None} | later


AS_USUAL = TrainingOptions()
"""The options of a training of which none is given."""
