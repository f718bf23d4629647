"""How much noise eight bits make in a net of the zoo by themselves: no converter or quantizer, only Keras and rounding.

    python benchmarks/accuracy/zoo_noise.py EfficientNetB3 [MODEL...]

Explains a miss of `zoo.py`: if rounding alone leaves about the noise that the converted file has, the file is as good
as int8 of this net can be, and the net is what amplifies it; if it leaves far less, a converter is wrong. Kernels are
rounded to 255 levels an output channel, what every layer gives to 256 levels over the range that calibration saw -
after batch norm, not before, as converters fold it. The figure is that of the zoo: spread between inputs to noise, dB.
Three rows: the kernels rounded, what layers give rounded, both. Sigmoids inside a swish stay float here.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import numpy.typing as npt

sys.path.append(str(Path(__file__).parents[1] / "shared"))

import zoo_models
from zoo_models import CALIBRATION, PROOF

from edgepress.converters.proof.compare import seeded_items
from edgepress.runtime.input_spec import InputSpec

Array = npt.NDArray[Any]
FOLDED = ("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "ZeroPadding2D", "InputLayer", "Dropout")
"""Layers whose output a converter does not store in 8 bits of its own: batch norm follows, or nothing is computed."""


def main() -> None:
    """Print one line a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    for name in parser.parse_args().models:
        size = zoo_models.smallest_input(name)
        model, spec = zoo_models.build(name, size), InputSpec.image(size, size, "rgb")
        items, shown = seeded_items(spec, seed=PROOF), seeded_items(spec, 100, seed=CALIBRATION)
        truth = zoo_models.answers(model, items)
        round_layers = watch_ranges(model, shown)
        round_layers(True)
        activations = spread_db(truth, zoo_models.answers(model, items))
        round_kernels(model)
        both = spread_db(truth, zoo_models.answers(model, items))
        round_layers(False)
        kernels = spread_db(truth, zoo_models.answers(model, items))
        print(
            f"{name:20} kernels {kernels:6.1f} dB   activations {activations:6.1f} dB   both {both:6.1f} dB", flush=True
        )


def spread_db(truth: Array, answers: Array) -> float:
    """Spread between inputs to noise, dB; both float32, shape (N, classes)."""
    return float(10 * np.log10(np.square(truth - truth.mean(0)).sum() / np.square(answers - truth).sum()))


def round_kernels(model: Any) -> None:
    """Round each kernel to 255 levels an output channel."""
    import keras

    for layer in zoo_models._layers(model):
        if not hasattr(layer, "kernel"):
            continue
        kernel = np.asarray(layer.kernel)
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            largest = np.abs(kernel).max(axis=(0, 1), keepdims=True)
        else:
            largest = np.abs(kernel).max(axis=tuple(range(kernel.ndim - 1)), keepdims=True)
        step = np.where(largest > 0, largest, 1) / 127
        layer.kernel.assign(np.rint(kernel / step) * step)


def watch_ranges(model: Any, shown: Array) -> Callable[[bool], None]:
    """Measure the range of what each layer gives; the function returned turns rounding to it on and off."""
    import keras

    mode, ranges = {"watch": True, "round": False}, {}

    def watched(layer: Any) -> Any:
        call = layer.call

        def replaced(*arguments: Any, **options: Any) -> Any:
            y = call(*arguments, **options)
            if mode["watch"]:
                low, high = ranges.get(layer.name, (0.0, 0.0))
                values = np.asarray(y)
                ranges[layer.name] = min(low, float(values.min())), max(high, float(values.max()))
            elif mode["round"]:
                low, high = ranges[layer.name]
                step = (high - low) / 255 or 1.0
                zero = round(-low / step)
                y = (keras.ops.clip(keras.ops.round(y / step) + zero, 0, 255) - zero) * step
            return y

        return replaced

    for layer in zoo_models._layers(model):
        if type(layer).__name__ not in FOLDED:
            layer.call = watched(layer)
    for start in range(0, len(shown), 20):
        zoo_models.answers(model, shown[start : start + 20])
    mode["watch"] = False

    def switch(on: bool) -> None:
        mode["round"] = on

    return switch


if __name__ == "__main__":
    main()
