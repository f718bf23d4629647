"""The options of `train`, declared once for the public function and the command line; `RunOptions` are of all runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from edgepress.converters.options.records import Setting, check_ranges, record
from edgepress.toolkit.data.objects import Model
from edgepress.toolkit.errors import InputError
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
RECORDED = (
    *("epochs", "batch_size", "learning_rate", "class_weights", "augmentation"),
    *("width", "depth", "dropout", "freeze", "seed", "teacher"),
)
"""Options that a run's file records; those that are added later are recorded if they are given."""


RESUME = Setting(
    "Resume an interrupted run",
    more="An empty folder starts one; of a finished one, you get the result",
    words=("--resume",),
)
OUT = Setting("Folder of the run", show_default="runs/DATA-ARCH", typed=Path | None)
Net = partial(Setting, panel="Network")
Fit = partial(Setting, panel="Training")
OfNet = partial(Net, show_default="set by the architecture")
OfFit = partial(Fit, show_default="set by the architecture")
_WITH_WIDTH = ", ".join(r.name for r in ARCHITECTURES.values() if r.width)
_DEPTHS = ", ".join(f"{r.name}: {' or '.join(map(str, r.depths))}" for r in ARCHITECTURES.values() if r.depths)
WEIGHTS = Net(
    "Initial weights: auto (those that come with edgepress), none, imagenet, or a .keras or .h5 file", typed=str
)
BASE = Net(
    "Begin with this classifier of any format, instead of --arch and --weights",
    more="The result is a float `.tflite`",
    words=("--from",),
    metavar="MODEL",
    typed=str | None,
)
FEATURES = Net("Tensor of the features of --from; default: what its last layer reads", show_default=False)
CONTINUED = Net("Train the model of `weights` on, classifier included", command_line=False)
TEACHER = Fit("Learn from the answers of this classifier, too (distillation)", metavar="MODEL", typed=str | None)
EPOCHS = OfFit("Passes over the training split", min=1)
RATE = OfFit("Initial learning rate of Adam, with cosine decay to 0", above=0, below=math.inf)
PATIENCE = Fit("Stop after this many epochs without better validation accuracy; 0: never stop early", min=0, typed=int)
MINUTES = Fit("Time for training: fewer epochs, or only the last layers of a pre-trained net", above=0, below=1e5)
SEED = Fit("Random seed; on one machine, the same seed gives the same weights", min=0)


class RunArguments(TypedDict, total=False):
    """The arguments that make `RunOptions`."""

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

    resume: Annotated[bool, RESUME] = False
    overwrite: Annotated[bool, Setting("Replace a run that the folder holds", words=("--overwrite",))] = False

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.resume and self.overwrite:
            raise InputError("resume and overwrite exclude each other.", "Give only one of --resume and --overwrite.")


@record(TrainingArguments)
@dataclass(frozen=True, kw_only=True)
class TrainingOptions(RunOptions):
    """How a net is made and trained."""

    out: Annotated[str | Path | None, OUT] = None
    augmentation: Annotated[str, AUGMENTATION(panel="Images")] = "auto"
    width: Annotated[float | None, OfNet(f"Multiplier of the number of channels ({_WITH_WIDTH})")] = None
    depth: Annotated[int | None, OfNet(f"Number of layers ({_DEPTHS})")] = None
    dropout: Annotated[float | None, OfNet("Dropout rate before the classifier")] = None
    weights: Annotated[str | Path | None, WEIGHTS] = "auto"
    base: Annotated[Model | BaseNet | None, BASE] = None
    features: Annotated[str, FEATURES] = ""
    freeze: Annotated[bool, Net("Train only the classifier; needs weights", words=("--freeze",))] = False
    continued: Annotated[bool, CONTINUED] = False
    teacher: Annotated[Model | None, TEACHER] = None
    trust: Annotated[bool, Fit(f"{TRUST_HELP}; for --from and --teacher", words=("--trust",))] = False
    epochs: Annotated[int | None, EPOCHS] = None
    batch_size: Annotated[int | None, OfFit("Items in a training step", min=1)] = None
    learning_rate: Annotated[float | None, RATE] = None
    patience: Annotated[int | None, PATIENCE] = 15
    minutes: Annotated[float | None, MINUTES] = None
    class_weights: Annotated[bool, Fit("Give rare classes more weight", words=("--class-weights",))] = False
    seed: Annotated[int, SEED] = 0

    @property
    def recorded(self) -> dict[str, Any]:
        """What a run's file records of them."""
        later = {name: value for name in ("continued", "minutes") if (value := getattr(self, name))}
        return {name: getattr(self, name) for name in RECORDED} | {"patience": self.patience or None} | later
