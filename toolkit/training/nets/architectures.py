"""The table of architectures, and `build`, which makes a Keras model from one of its rows.

Every model takes float32 values as the data holds them (pixels 0-255 for images), normalizes them in its first layer,
and returns softmax probabilities, so training, calibration and the board agree on its input. The converters add the
uint8 interface. All layers exist as built-in operations of TFLite and in tf2onnx.

To add an architecture, write its function in `layers.py`, add it to `BODIES` there, and add a row to `ARCHITECTURES`.
Help texts and completion read the table; a test prints the row for docs/architectures.md.

    >>> from edgepress.runtime.input_spec import InputSpec
    >>> build("lenet", InputSpec.image(28, 28, "grey"), classes=10).count_params()     # doctest: +SKIP
    61706
"""

from __future__ import annotations

import dataclasses
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.errors import InputError, unknown
from edgepress.toolkit.training.nets import pretrained
from edgepress.toolkit.training.nets.options import Options
from edgepress.toolkit.training.nets.packaged import PACKAGES


@dataclasses.dataclass(frozen=True)
class Architecture:
    """One row of the table.

    Attributes:
        name: Its name for `--arch`.
        paper: Where it was published.
        sides: Smallest and largest height and width of images that it takes; None: none.
        steps: Smallest and largest number of time steps of windows (steps, channels) that it takes; None: none.
        any_shape: Whether it takes items of any shape.
        width: Default of `--width`, the multiplier of the number of channels; None if it has no such option.
        depths: Accepted values of `--depth`, the default first; empty if it has no such option.
        dropout: Default dropout rate before the classifier.
        imagenet: (width, depth) for which Keras offers ImageNet weights; depth 0 if there is only one.
        transfers: Whether such weights reach up to the classifier, so that it is trained in two steps (`transfer`).
        epochs, batch_size, learning_rate: Defaults of a training from nothing.
    """

    name: str
    paper: str
    _: dataclasses.KW_ONLY
    sides: tuple[int, int] | None = (28, 224)
    steps: tuple[int, int] | None = None
    any_shape: bool = False
    width: float | None = None
    depths: tuple[int, ...] = ()
    dropout: float = 0.0
    imagenet: tuple[tuple[float, int], ...] = ()
    transfers: bool = False
    epochs: int = 30
    batch_size: int = 32
    learning_rate: float = 1e-3

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Whether it takes items of this shape."""
        if self.any_shape:
            return True
        limits = self.steps if len(shape) == 2 else self.sides
        measured = shape[: len(shape) - 1]
        return limits is not None and len(shape) in (2, 3) and all(limits[0] <= n <= limits[1] for n in measured)

    @property
    def accepted(self) -> str:
        """What it takes, in words."""
        texts = []
        if self.sides is not None:
            low, high = self.sides
            texts.append(f"height x width x channels from {low}x{low} to {high}x{high}")
        if self.steps is not None:
            texts.append(f"windows, steps x channels, of {self.steps[0]} to {self.steps[1]} steps")
        return " or ".join(texts)


MOST_STEPS = 4096
"""Time steps of a window at most."""
ARCHITECTURES: dict[str, Architecture] = {
    row.name: row
    for row in (
        Architecture("dense", "Chollet, the Keras primer: the first net", sides=None, any_shape=True),
        Architecture(
            "lenet",
            "LeCun et al. 1998, Gradient-based learning applied to document recognition",
            epochs=20,
            learning_rate=3e-3,
        ),
        Architecture(
            "alexnet",
            "Krizhevsky et al. 2012, ImageNet classification with deep convolutional neural networks",
            width=0.25,
            dropout=0.5,
            learning_rate=5e-4,
        ),
        Architecture(
            "vgg",
            "Simonyan and Zisserman 2014, arXiv:1409.1556",
            width=0.25,
            depths=(11, 16),
            dropout=0.5,
            imagenet=((1.0, 16),),
            learning_rate=3e-4,
        ),
        Architecture(
            "conv1d",
            "Wang et al. 2016, arXiv:1611.06455, with pools",
            sides=None,
            steps=(8, MOST_STEPS),
            width=1.0,
            dropout=0.2,
        ),
        Architecture(
            "tcn",
            "Bai et al. 2018, arXiv:1803.01271, not causal",
            sides=None,
            steps=(8, MOST_STEPS),
            width=1.0,
            dropout=0.2,
        ),
        Architecture(
            "stream-cnn",
            "Rybakov et al. 2020, arXiv:2005.06720; Tan and Le 2019, MixConv, arXiv:1907.09595, in a row",
            sides=None,
            steps=(16, MOST_STEPS),
            width=1.0,
            dropout=0.2,
        ),
        Architecture(
            "resnet8",
            "Banbury et al. 2021, MLPerf Tiny, arXiv:2106.07597; He et al. 2015, arXiv:1512.03385",
            steps=(16, MOST_STEPS),
        ),
        Architecture(
            "ds-cnn",
            "Zhang et al. 2017, Hello Edge, arXiv:1711.07128, as in MLPerf Tiny",
            sides=(10, 224),
            steps=(10, MOST_STEPS),
            dropout=0.4,
        ),
        Architecture(
            "mobilenet-v1",
            "Howard et al. 2017, arXiv:1704.04861",
            width=0.25,
            dropout=0.1,
            imagenet=((0.25, 0), (0.5, 0), (0.75, 0), (1.0, 0)),
            transfers=True,
        ),
        Architecture(
            "mobilenet-v2",
            "Sandler et al. 2018, arXiv:1801.04381",
            width=0.35,
            dropout=0.1,
            imagenet=((0.35, 0), (0.5, 0), (0.75, 0), (1.0, 0), (1.3, 0), (1.4, 0)),
            transfers=True,
        ),
        Architecture(
            "mobilenet-v3-small",
            "Howard et al. 2019, arXiv:1905.02244",
            width=1.0,
            dropout=0.1,
            imagenet=((0.75, 0), (1.0, 0)),
        ),
        *(
            Architecture(
                f"efficientnet-{variant}",
                "Tan and Le 2019, EfficientNet, arXiv:1905.11946, in its Lite form",
                sides=(28, 384),
                dropout=0.2,
                imagenet=((1.0, 0),),
                transfers=True,
            )
            for variant in ("lite0", "lite1", "lite2")
        ),
    )
}


def architecture(name: str) -> Architecture:
    """Look up a row by its name.

    Raises:
        InputError: The name is unknown.
    """
    if name not in ARCHITECTURES:
        raise unknown("architecture", name, ARCHITECTURES)
    return ARCHITECTURES[name]


def build(
    name: str,
    input: InputSpec,
    *,
    classes: int,
    activation: Literal["softmax", "sigmoid"] = "softmax",
    width: float | None = None,
    depth: int | None = None,
    dropout: float | None = None,
    weights: str | Path | None = None,
    freeze: bool = False,
    continued: bool = False,
    mean: npt.ArrayLike | None = None,
    variance: npt.ArrayLike | None = None,
    seed: int = 0,
) -> Any:
    """Build a functional Keras model; its initial weights depend only on the arguments.

    Args:
        name: A name in `ARCHITECTURES`.
        input: The items; the model takes them as float32, shape (batch, *input.shape), in their raw range.
        classes: Number of classes, >= 2; the output is float32 (batch, classes).
        activation: The last operation: "softmax", or "sigmoid" for labels that do not exclude each other.
        width: Multiplier of the number of channels, 0.05 to 4, if the architecture has this option.
        depth: Number of layers, if the architecture has this option.
        dropout: Dropout rate before the classifier, [0, 1).
        weights: "imagenet"; a `.keras` or `.weights.h5` file of the same architecture, of which all layers but the
            classifier are loaded; or a `.h5` file without top as keras.applications offers for download.
        freeze: Train only the classifier; needs `weights`.
        continued: Load the classifier from `weights`, too, which are of a model of the same classes.
        mean: Mean of float32 items along their last axis, on the training split; None for pixels.
        variance: Variance, like `mean`.
        seed: Seed of the initial weights and of dropout.

    Raises:
        InputError: The name is unknown, or an option or the input does not fit the architecture.
        TrainingError: The weights can't be loaded or don't fit.
    """
    row = architecture(name)
    options = dataclasses.replace(
        check_options(name, input, width=width, depth=depth, dropout=dropout, weights=weights, freeze=freeze),
        mean=None if mean is None else np.asarray(mean, np.float32),
        variance=None if variance is None else np.asarray(variance, np.float32),
    )

    import keras

    from edgepress.toolkit.training.nets.layers import BODIES

    keras.utils.set_random_seed(seed)
    source = keras.Input(input.shape, dtype="float32", name="image" if input.is_image else "tensor")
    with pretrained.clear_errors(row.name, weights), redirect_stdout(sys.stderr):  # Keras draws downloads on stdout
        features = BODIES[name](source, options)  # before the head, because each layer draws from the seed
        head = keras.layers.Dense(classes, activation=activation, dtype="float32", name="predictions")
        model = keras.Model(source, head(features), name=row.name)
        if weights and not options.pretrained:
            pretrained.load_all_but(model, None if continued else head, Path(weights))
    for layer in model.layers if freeze else ():
        layer.trainable = layer is head
    return model


def check_options(
    name: str,
    input: InputSpec,
    *,
    width: float | None = None,
    depth: int | None = None,
    dropout: float | None = None,
    weights: str | Path | None = None,
    freeze: bool = False,
) -> Options:
    """The options of an architecture with its defaults instead of None; the arguments are those of `build`.

    Raises:
        InputError: The name is unknown, or an option or the input does not fit the architecture.
    """
    row = architecture(name)
    options = Options(
        width=_option(row, "width", width, row.width),
        depth=_option(row, "depth", depth, row.depths[0] if row.depths else None),
        dropout=row.dropout if dropout is None else dropout,
        pretrained=pretrained.of_applications(weights),
    )
    _check(row, input, options, weights=weights, freeze=freeze)
    return options


def _check(row: Architecture, input: InputSpec, options: Options, *, weights: str | Path | None, freeze: bool) -> None:
    """Raise InputError if the input or the options don't fit the architecture."""
    if not row.takes(input.shape):
        shape = "x".join(map(str, input.shape))
        free = ", ".join(r.name for r in ARCHITECTURES.values() if r.takes(input.shape))
        raise InputError(
            f"{row.name} can't take items of shape {shape}; it takes {row.accepted}.",
            f"{_other_shape(input)}, or choose an --arch that takes this one: {free}.",
        )
    if not 0 <= options.dropout < 1:
        raise InputError(f"dropout is {options.dropout}; accepted: from 0 to below 1.")
    if freeze and not weights:
        raise InputError(
            "freeze without weights would train a classifier on random features.",
            "Give --weights as well, or --arch efficientnet-lite0, whose weights come with edgepress.",
        )
    if not options.pretrained:
        return
    if not row.imagenet:
        have = [r.name for r in ARCHITECTURES.values() if r.imagenet]
        raise InputError(f"There are no ImageNet weights for {row.name}; there are for: {', '.join(have)}.")
    if row.name in PACKAGES and options.pretrained != "imagenet":
        raise InputError(
            f"{row.name} takes no .h5 file of keras.applications, which has no such net.",
            "Give --weights imagenet, or the .keras file of another run.",
        )
    if (options.width, options.depth) not in row.imagenet:
        setting = f"width {options.width:g}" + (f" and depth {options.depth}" if row.depths else "")
        accepted = [f"width {w:g}" + (f" and depth {d}" if row.depths else "") for w, d in row.imagenet]
        raise InputError(
            f"There are no ImageNet weights for {row.name} of {setting}; there are for: {'; '.join(accepted)}."
        )
    if not input.is_image:
        raise InputError("ImageNet weights are for images; these items are tensors.", "Omit --weights.")


def _other_shape(input: InputSpec) -> str:
    """What to do about items whose shape an architecture can't take, without a full stop."""
    if input.is_image:
        return "Choose another --size"
    if len(input.shape) == 2:
        return "Give x an axis of channels in the .npz, x[..., np.newaxis] (images: as uint8, 0-255)"
    if len(input.shape) == 3 and input.shape[0] in (1, 3):
        return "Move the channels of x in the .npz to the end, x.transpose(0, 2, 3, 1)"
    return "Choose such a shape in the .npz"


def _option(row: Architecture, option: str, wanted: Any, default: Any) -> Any:
    """The value of an option that only some architectures have; a default of None means that this one does not."""
    if default is None:
        if wanted is not None:
            have = [r.name for r in ARCHITECTURES.values() if (r.width if option == "width" else r.depths)]
            raise InputError(f"{row.name} has no option {option}; these have: {', '.join(have)}.")
        return getattr(Options, option)
    value = default if wanted is None else wanted
    if option == "depth" and value not in row.depths:
        raise InputError(f"{row.name} has no depth {value}; accepted: {', '.join(map(str, row.depths))}.")
    if option == "width" and not 0.05 <= value <= 4:
        raise InputError(f"width is {value}; accepted: 0.05 to 4.")
    return value
