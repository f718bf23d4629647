"""The table of architectures, and `build`, which makes a Keras model of one.

Every model takes float32 values as they come from the data - of an image, its pixels 0-255 - normalizes them in its
first layer, and answers softmax probabilities. So training, calibration and the board can't disagree about it; the
uint8 interface is put in front by the converters. All layers are such that TFLite's built-in operations and tf2onnx
have them.

    >>> from edgepress.runtime.contract import InputSpec
    >>> build("lenet", InputSpec.image(28, 28, "grey"), classes=10).count_params()     # doctest: +SKIP
    61706
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.runtime.contract import InputSpec
from edgepress.toolkit.errors import InputError, TrainingError, unknown
from edgepress.toolkit.training import layers


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """One row of the table.

    Attributes:
        name: What `--arch` calls it.
        body: From the input to the features, in `nets`.
        paper: Where it was published.
        sides: Smallest and largest height and width that it takes; None for a net that takes any shape.
        width: Factor on the channels unless `--width` is given; None if it has no such option.
        depths: Depths to choose from, the first unless `--depth` is given; empty if it has no such option.
        dropout: Share of features dropped before the classifier unless `--dropout` is given.
        imagenet: (width, depth) for which Keras has ImageNet weights; depth 0 where there is nothing to choose.
        epochs, batch_size, learning_rate: Defaults of training.
    """

    name: str
    body: Callable[[Any, layers.Options], Any]
    paper: str
    sides: tuple[int, int] | None = (28, 224)
    width: float | None = None
    depths: tuple[int, ...] = ()
    dropout: float = 0.0
    imagenet: tuple[tuple[float, int], ...] = ()
    epochs: int = 30
    batch_size: int = 32
    learning_rate: float = 1e-3


ARCHITECTURES: dict[str, Architecture] = {
    row.name: row
    for row in (
        Architecture(
            name="dense",
            body=layers.dense,
            paper="Chollet, the Keras primer: the first net",
            sides=None,
        ),
        Architecture(
            name="lenet",
            body=layers.lenet,
            paper="LeCun et al. 1998, Gradient-based learning applied to document recognition",
            epochs=20,
            learning_rate=3e-3,
        ),
        Architecture(
            name="alexnet",
            body=layers.alexnet,
            paper="Krizhevsky et al. 2012, ImageNet classification with deep convolutional neural networks",
            width=0.25,
            dropout=0.5,
            learning_rate=5e-4,
        ),
        Architecture(
            name="vgg",
            body=layers.vgg,
            paper="Simonyan and Zisserman 2014, arXiv:1409.1556",
            width=0.25,
            depths=(11, 16),
            dropout=0.5,
            imagenet=((1.0, 16),),
            learning_rate=3e-4,
        ),
        Architecture(
            name="resnet8",
            body=layers.resnet8,
            paper="Banbury et al. 2021, MLPerf Tiny, arXiv:2106.07597; He et al. 2015, arXiv:1512.03385",
        ),
        Architecture(
            name="ds-cnn",
            body=layers.ds_cnn,
            paper="Zhang et al. 2017, Hello Edge, arXiv:1711.07128, as in MLPerf Tiny",
            sides=(10, 224),
            dropout=0.4,
        ),
        Architecture(
            name="mobilenet-v1",
            body=layers.mobilenet_v1,
            paper="Howard et al. 2017, arXiv:1704.04861",
            width=0.25,
            dropout=0.1,
            imagenet=((0.25, 0), (0.5, 0), (0.75, 0), (1.0, 0)),
        ),
        Architecture(
            name="mobilenet-v2",
            body=layers.mobilenet_v2,
            paper="Sandler et al. 2018, arXiv:1801.04381",
            width=0.35,
            dropout=0.1,
            imagenet=((0.35, 0), (0.5, 0), (0.75, 0), (1.0, 0), (1.3, 0), (1.4, 0)),
        ),
        Architecture(
            name="mobilenet-v3-small",
            body=layers.mobilenet_v3_small,
            paper="Howard et al. 2019, arXiv:1905.02244",
            width=1.0,
            dropout=0.1,
            imagenet=((0.75, 0), (1.0, 0)),
        ),
    )
}


def architecture(name: str) -> Architecture:
    """The row of that name.

    Raises:
        InputError: There is none.
    """
    if name not in ARCHITECTURES:
        raise unknown("architecture", name, ARCHITECTURES)
    return ARCHITECTURES[name]


def build(
    name: str,
    input: InputSpec,
    *,
    classes: int,
    width: float | None = None,
    depth: int | None = None,
    dropout: float | None = None,
    weights: str | Path | None = None,
    freeze: bool = False,
    mean: npt.ArrayLike | None = None,
    variance: npt.ArrayLike | None = None,
    seed: int = 0,
) -> Any:
    """A functional Keras model; its initial weights are a function of the arguments.

    Args:
        name: A name in `ARCHITECTURES`.
        input: What one item looks like; the model takes it as float32, shape (batch, *input.shape), in its raw range.
        classes: Number of classes, >= 2; the output is float32 (batch, classes), softmax.
        width: Factor on the number of channels, where the architecture has it.
        depth: Number of layers, where the architecture has it.
        dropout: Share of features dropped before the classifier, [0, 1).
        weights: "imagenet"; a `.keras` or `.weights.h5` file of the same architecture, whose classifier may have
            other classes and is left out; or a `.h5` file without top that keras.applications offers for download.
        freeze: Train only the classifier; needs `weights`.
        mean: Of a float32 tensor along its last axis, on the training split; None for pixels.
        variance: Like `mean`.
        seed: Of the initial weights and of dropout.

    Raises:
        InputError: An unknown name, an option that it does not have, or an input that it can't take.
        TrainingError: Weights that can't be had or don't fit.
    """
    row = architecture(name)
    _check_input(row, input)
    options = layers.Options(
        width=_option(row, "width", width, row.width),
        depth=_option(row, "depth", depth, row.depths[0] if row.depths else None),
        dropout=row.dropout if dropout is None else dropout,
        pretrained=_application_weights(weights),
        mean=None if mean is None else np.asarray(mean, np.float32),
        variance=None if variance is None else np.asarray(variance, np.float32),
    )
    if not 0 <= options.dropout < 1:
        raise InputError(f"dropout is {dropout}; accepted: from 0 to below 1.")
    if freeze and not weights:
        raise InputError("freeze without weights would train a classifier on random features.", "Give weights as well.")
    if options.pretrained:
        _check_pretrained(row, input, options)

    import keras

    keras.utils.set_random_seed(seed)
    source = keras.Input(input.shape, dtype="float32", name="image" if input.is_image else "tensor")
    # Keras draws the progress of a download on stdout, which is for results.
    with _weight_errors(row, weights), redirect_stdout(sys.stderr):
        features = row.body(source, options)
    head = keras.layers.Dense(classes, activation="softmax", dtype="float32", name="predictions")
    model = keras.Model(source, head(features), name=row.name)
    if weights and not options.pretrained:
        with _weight_errors(row, weights), _weight_file(Path(weights)) as path:
            _load_body(model, head, path)
    if freeze:
        for layer in model.layers:
            layer.trainable = layer is head
    return model


def _check_input(row: Architecture, input: InputSpec) -> None:
    if row.sides is None:
        return
    low, high = row.sides
    if len(input.shape) != 3 or not all(low <= side <= high for side in input.shape[:2]):
        found = "x".join(map(str, input.shape))
        raise InputError(
            f"{row.name} can't take items of shape {found}; it takes height x width x channels from {low}x{low} to "
            f"{high}x{high}.",
            "Choose another size, or an architecture that takes any shape: dense.",
        )


def _option(row: Architecture, option: str, given: Any, default: Any) -> Any:
    """The value of an option that not every architecture has; `default` None says that this one has not."""
    if default is None:
        if given is not None:
            have = [r.name for r in ARCHITECTURES.values() if (r.width if option == "width" else r.depths)]
            raise InputError(f"{row.name} has no option {option}; these have: {', '.join(have)}.")
        return getattr(layers.Options, option)
    value = default if given is None else given
    if option == "depth" and value not in row.depths:
        raise InputError(f"{row.name} has no depth {value}; accepted: {', '.join(map(str, row.depths))}.")
    if option == "width" and not 0.05 <= value <= 4:
        raise InputError(f"width is {value}; accepted: 0.05 to 4.")
    return value


def _application_weights(weights: str | Path | None) -> str | None:
    """The weights that keras.applications itself shall load: "imagenet" or one of its files; else None."""
    text = str(weights or "")
    if text == "imagenet":
        return text
    if text.endswith(".weights.h5") or not text.endswith(".h5"):
        return None
    return str(_require_file(Path(text)))


def _require_file(path: Path) -> Path:
    if not path.is_file():
        raise TrainingError(f"There is no file of weights at {path}.", "Check the path, or give imagenet.")
    return path


def _check_pretrained(row: Architecture, input: InputSpec, options: layers.Options) -> None:
    if not row.imagenet:
        have = [r.name for r in ARCHITECTURES.values() if r.imagenet]
        raise InputError(f"keras.applications has no weights for {row.name}; it has for: {', '.join(have)}.")
    if (options.width, options.depth) not in row.imagenet:
        found = f"width {options.width:g}" + (f" and depth {options.depth}" if row.depths else "")
        accepted = [f"width {w:g}" + (f" and depth {d}" if row.depths else "") for w, d in row.imagenet]
        raise InputError(
            f"keras.applications has no weights for {row.name} of {found}; it has for: {'; '.join(accepted)}."
        )
    if not input.is_image:
        raise InputError(
            "The weights of keras.applications are for images; these items are tensors.", "Leave weights away."
        )


@contextmanager
def _weight_errors(row: Architecture, weights: str | Path | None) -> Iterator[None]:
    """Turn what Keras raises about weights into a TrainingError; without weights, errors are bugs and pass."""
    try:
        yield
    except Exception as e:  # Keras raises a bare Exception when a download fails
        if not weights or isinstance(e, (InputError, TrainingError)):
            raise
        reason = " ".join(str(e).split())[:300]
        if str(weights) == "imagenet":
            raise TrainingError(
                f"The ImageNet weights of {row.name} can't be had: {reason}",
                "Download that file on a machine with internet and give its path as weights, or train from scratch.",
            ) from e
        raise TrainingError(
            f"The weights in {weights} don't fit {row.name} as it is to be built: {reason}",
            "They must come from the same architecture with the same image size, colours, width and depth.",
        ) from e


def _load_body(model: Any, head: Any, path: Path) -> None:
    """Load all weights but the classifier's. Keras leaves what the file lacks as it is; here that is an error."""
    body = [weight for layer in model.layers if layer is not head for weight in layer.weights]
    for weight in body:
        weight.assign(np.full(weight.shape, np.nan, weight.dtype))
    with warnings.catch_warnings(action="ignore"):
        model.load_weights(path, objects_to_skip=[head])
    missing = [weight.path for weight in body if np.isnan(weight.numpy()).any()]
    if missing:
        raise ValueError(f"it lacks {len(missing)} of {len(body)} weights, {missing[0]} among them.")


@contextmanager
def _weight_file(path: Path) -> Iterator[Path]:
    """The file that Keras loads weights from while leaving layers out: `.weights.h5`, or the one inside a `.keras`."""
    _require_file(path)
    if path.name.endswith(".weights.h5"):
        yield path
    elif path.suffix == ".keras":
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path) as archive:
            yield Path(archive.extract("model.weights.h5", folder))
    else:
        raise TrainingError(f"Weights can't be read from {path.name}; accepted: .keras, .weights.h5, .h5, imagenet.")
