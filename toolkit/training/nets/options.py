"""The options of an architecture, apart from `layers`, which imports Keras."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt


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
