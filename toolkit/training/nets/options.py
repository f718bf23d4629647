"""What a net begins with: options of an architecture, or the body of another net; this imports neither Keras nor it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.runtime.input_spec import InputSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Options of an architecture.

    Attributes:
        width: Factor on the number of channels, > 0.
        depth: Number of layers with weights (VGG only): 11 or 16.
        dropout: Dropout rate before the classifier, [0, 1).
        pretrained: "imagenet", the path of a weights file of keras.applications, or None.
        mean, variance: Per-feature statistics to normalize float32 tensors with; None for pixels.
    """

    width: float = 1.0
    depth: int = 0
    dropout: float = 0.0
    pretrained: str | None = None
    mean: npt.NDArray[np.float32] | None = None
    variance: npt.NDArray[np.float32] | None = None


@dataclasses.dataclass(frozen=True)
class BaseNet:
    """The body of a classifier.

    Attributes:
        name: Name of its file, without the suffix.
        sha256: SHA-256 of the file.
        input: Items that it takes: its preparation of pixels is part of the graph.
        graph: Its float TFLite graph, from these items to the features, shape (1, features).
        features: The tensor of the model that holds them.
        batch: Items in a step of training that fit into memory, up to the usual number.
        hints: What the user said of its input, as options.
    """

    name: str
    sha256: str
    input: InputSpec
    graph: bytes
    features: str
    batch: int
    hints: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """What a run records of it, which must be equal for the run to be resumed."""
        about = {name: getattr(self, name) for name in ("name", "sha256", "features")}
        return about | {"hints": list(self.hints)}
