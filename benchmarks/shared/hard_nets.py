"""The same function with channels of very different scales: nets on which quantization with one scale a tensor fails.

A trained Keras net is taken, and the channels of each of its scale groups are multiplied by factors from 2^-6 to 2^6,
whose logarithms are drawn with a seed; what reads them is divided by the same, so that the net answers the same. A
group holds the tensors that must share their factors: what ReLU, pools, padding, flattening, residual additions and the
gates of squeeze-excite pass on. A batch norm, a convolution or a dense layer begins a group, and a convolution or dense
layer ends it. Groups that reach another operation (hard-swish, sigmoid, softmax, input, output) keep their scale.
ReLU6: channels that reach 6 on the items keep theirs, others grow at most until they would.

It works on Keras layers, apart from `edgepress.converters.ptq`, whose work on the graph it is there to test.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.contract.write import write_keras_contract
from edgepress.runtime.contract import read_contract

Array = npt.NDArray[Any]
EXPONENT, CAP, ERROR = 6.0, 6.0, 1e-4
PASSING = (
    *("MaxPooling2D", "AveragePooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D", "ZeroPadding2D"),
    *("Dropout", "Flatten", "Reshape"),
)
WEIGHTED = ("Conv2D", "DepthwiseConv2D", "Dense")


@dataclass
class _Group:
    """Channels that share factors: what makes them, what reads them, and which tensors bound them."""

    pinned: bool = False
    makers: list[Any] = field(default_factory=list)
    readers: list[tuple[Any, int]] = field(default_factory=list)
    capped: list[Any] = field(default_factory=list)


def harden(model: Path, target: Path, items: Array, *, seed: int, exponent: float = EXPONENT) -> int:
    """Write the net with its scale groups multiplied; imports TensorFlow.

    Args:
        model: A `.keras` file.
        target: The file to write.
        items: All items that the net will be shown, shape (N, *item shape).
        seed: Seed of the factors.
        exponent: Factors are from 2^-exponent to 2^exponent.

    Returns:
        The number of groups that were multiplied.

    Raises:
        ValueError: The answers are not the same.
    """
    import keras

    net = keras.saving.load_model(model, compile=False)
    shown = items.astype(np.float32)
    before = net.predict(shown, verbose=0, batch_size=100)
    groups = [group for group in _groups(net) if not group.pinned and group.makers and group.readers]
    peaks = _peaks(net, [tensor for group in groups for tensor in group.capped], shown)
    generator = np.random.default_rng(seed)
    for group in groups:
        exponents = generator.uniform(-exponent, exponent, _channels(group))
        for tensor in group.capped:
            peak = np.maximum(peaks[id(tensor)], CAP * 2.0**-EXPONENT)
            exponents = np.where(peak >= CAP, 0, np.minimum(exponents, np.log2(CAP / peak)))
        _multiply(group, np.exp2(exponents).astype(np.float32))
    after = net.predict(shown, verbose=0, batch_size=100)
    error = float(np.abs(after - before).max() / np.abs(before).max())
    if error > ERROR or (after.argmax(1) != before.argmax(1)).any():
        raise ValueError(f"{model}: answers differ by {error:.1e} of the largest")
    net.save(target)
    if (contract := read_contract(model)) is not None:
        write_keras_contract(target, contract)
    return len(groups)


def _groups(net: Any) -> list[_Group]:
    parent: dict[int, int] = {}
    content: dict[int, _Group] = defaultdict(_Group)

    def root(tensor: Any) -> int:
        at = id(tensor)
        while parent.setdefault(at, at) != at:
            at = parent[at]
        return at

    def join(*tensors: Any) -> None:
        first = root(tensors[0])
        for tensor in tensors[1:]:
            if (other := root(tensor)) != first:
                parent[other] = first
                moved, into = content.pop(other, _Group()), content[first]
                into.pinned |= moved.pinned
                for name in ("makers", "readers", "capped"):
                    getattr(into, name).extend(getattr(moved, name))

    def group(tensor: Any) -> _Group:
        return content[root(tensor)]

    for operation, sources, results in _calls(net):
        kind = type(operation).__name__
        act = getattr(getattr(operation, "activation", None), "__name__", "linear")
        plain = kind in WEIGHTED and getattr(operation, "groups", 1) == 1
        if kind == "DepthwiseConv2D" and operation.depth_multiplier != 1:
            plain = False
        if plain and act in ("linear", "relu"):
            group(results[0]).makers.append(operation)
            group(sources[0]).readers.append((operation, sources[0].shape[-1]))
        elif plain:  # an activation that fixes the scale of its input, such as softmax
            group(results[0]).pinned = True
            group(sources[0]).readers.append((operation, sources[0].shape[-1]))
        elif kind == "BatchNormalization" and operation.scale and operation.center:
            group(results[0]).makers.append(operation)
            group(sources[0]).pinned = True  # the batch norm begins the group; before it, nothing changes
        elif kind in PASSING or (kind == "Activation" and act == "relu") or _is_relu(operation, None):
            join(sources[0], results[0])
            group(results[0]).pinned |= kind == "Reshape" and sources[0].shape[-1] != results[0].shape[-1]
        elif _is_relu(operation, CAP):
            join(sources[0], results[0])
            group(results[0]).capped.append(sources[0])
        elif kind == "Add" and len({s.shape for s in sources}) == 1 and len(sources) > 1:
            join(*sources, results[0])
        elif kind == "Multiply" and len(sources) == 2:
            gate, values = sorted(sources, key=lambda tensor: int(np.prod(tensor.shape[1:])))
            join(values, results[0])
            group(gate).pinned = True
        else:
            for tensor in (*sources, *results):
                group(tensor).pinned = True
    for tensor in (*net.inputs, *net.outputs):
        group(tensor).pinned = True
    return list(content.values())


def _calls(net: Any) -> list[tuple[Any, list[Any], list[Any]]]:
    """Every operation of a functional net with its input and output tensors."""
    found = []
    for nodes in net._nodes_by_depth.values():  # private, but what Keras' own exporters walk
        for node in nodes:
            found.append((node.operation, list(node.input_tensors), list(node.output_tensors)))
    return found


def _is_relu(operation: Any, cap: float | None) -> bool:
    return (
        type(operation).__name__ == "ReLU"
        and operation.max_value == cap
        and not operation.negative_slope
        and not operation.threshold
    )


def _channels(group: _Group) -> int:
    """Channels of a group: those of what makes it."""
    maker = group.makers[0]
    return int(maker.gamma.shape[0] if type(maker).__name__ == "BatchNormalization" else _outputs(maker))


def _outputs(layer: Any) -> int:
    kernel = layer.kernel.shape
    return int(kernel[2] if type(layer).__name__ == "DepthwiseConv2D" else kernel[-1])


def _peaks(net: Any, tensors: list[Any], items: Array) -> dict[int, Array]:
    """The largest value of each channel of some tensors over all items."""
    import keras

    if not tensors:
        return {}
    axes = [tuple(range(1, len(tensor.shape) - 1)) for tensor in tensors]
    tops = [keras.ops.max(t, axis=a) if a else t for t, a in zip(tensors, axes, strict=True)]
    found = keras.Model(net.inputs, tops).predict(items, verbose=0, batch_size=100)
    found = found if isinstance(found, list) else [found]
    return {id(tensor): values.max(0) for tensor, values in zip(tensors, found, strict=True)}


def _multiply(group: _Group, factors: Array) -> None:
    for layer in group.makers:
        kind, weights = type(layer).__name__, layer.get_weights()
        if kind == "DepthwiseConv2D":
            weights[0] = weights[0] * factors[:, np.newaxis]
        else:  # the last axis: a kernel's filters, and gamma
            weights[0] = weights[0] * factors
        last = 1 if kind == "BatchNormalization" or layer.use_bias else 0
        weights[last] = weights[last] * factors if last else weights[0]
        layer.set_weights(weights)
    for layer, width in group.readers:
        weights = layer.get_weights()
        tiled = np.tile(factors, width // len(factors))  # flattened maps: the channels are the last axis
        weights[0] = weights[0] / tiled[:, np.newaxis]
        layer.set_weights(weights)
