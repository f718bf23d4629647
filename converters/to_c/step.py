"""One step of the program: a kernel and its numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.to_c.arithmetic import Integers, Range, Scaling
from edgepress.converters.to_c.graph import Operation, Tensor

MAX_CHANNELS = 1 << 16
"""Most outputs that have weights of their own."""
SEPARATE = 1 << 40
"""The distance of an output that may not overlap its input."""


@dataclass(frozen=True, eq=False)
class Step:
    """A kernel, its numbers, and what it answers.

    Attributes:
        operation: The operation that it computes.
        kernel: Its name: that of its file in `kernels/`, and of its function without "ep_".
        inputs: What it reads, in the order of the function's arguments; constants lie in flash.
        output: What it writes.
        layer: The fields of the kernel's struct: numbers, constants, and structs in it.
        distances: For each input, the number of bytes from the output's beginning to the input's from which on they
            may share memory, if the input is not needed later. It follows from the kernel's order of reads and writes.
        range: What the output can be, by channel.
        answer: The output for the inputs, on int64; it computes from the operation, not from `layer`.
        scratch: Bytes of memory that it needs while it runs; None: its kernel has no argument for them.
        macs: Multiply-accumulates.
        constant_channels: Channels whose outputs are the same for every input.
        reads: Values that the windows of a pool read.
        padded: Whether it reads values outside of its image, which stand for 0.
        smaller: The same by a kernel that takes less scratch and more instructions; None: there is none.
        changes: States among its inputs that it changes; `answer` then gives the output and what these become.
    """

    operation: Operation
    kernel: str
    inputs: tuple[Tensor, ...]
    output: Tensor
    layer: Mapping[str, Any]
    distances: tuple[int, ...]
    range: Range
    answer: Callable[..., Any]
    scratch: int | None = None
    macs: int = 0
    constant_channels: int = 0
    reads: int = 0
    padded: bool = False
    smaller: Step | None = None
    changes: tuple[Tensor, ...] = ()


def scaling_fields(scaling: Scaling, accumulators: Range, *, single: bool = False) -> dict[str, Any]:
    """The fields of a kernel's `ep_scaling`, channels filled up to a multiple of 4.

    Args:
        scaling: The scaling.
        accumulators: What they can be: they decide whether the kernel may round by its faster way.
        single: Whether all channels have one multiplier, so that those of four channels are enough.
    """
    keep = 4 if single else None
    small = accumulators.within(2**30) and bool(((scaling.rights >= 1) & (scaling.rights <= 31)).all())
    return {
        "multiplier": in_fours(scaling.multipliers)[:keep].astype(np.int32),
        "right": in_fours(scaling.rights - small)[:keep].astype(np.int8),
        "zero_point": 2 * scaling.zero_point + 1 if small else scaling.zero_point,
        "low": scaling.low,
        "high": scaling.high,
        "small": int(small),
    }


def check_scaling(operation: Operation, scaling: Scaling, accumulators: Range) -> None:
    """Refuse accumulators that could be shifted out of 32 bits.

    Raises:
        ModelFileError: They could.
    """
    left = np.maximum(-scaling.rights, 0)
    shifted = Range(accumulators.low << np.minimum(left, 31), accumulators.high << np.minimum(left, 31))
    if not shifted.within(2**31) or (left > 30).any():
        raise operation.refuse("its accumulators, shifted by its output scale, may need more than 32 bits")


@dataclass(frozen=True, eq=False)
class Channels:
    """The numbers of the channels of a convolution, as its kernel gets them.

    Attributes:
        weights: Shape (channels, products).
        bias: One a channel.
        scaling: How sums become outputs.
        sums: What they can be.
    """

    weights: Integers
    bias: Integers
    scaling: Scaling
    sums: Range

    @property
    def outputs(self) -> Range:
        """What the outputs can be."""
        return self.sums.through(self.scaling.outputs)

    def folded(self, zero_point: int) -> Channels:
        """The same with the offset of the input, its zero point, as a part of the biases."""
        return replace(self, bias=self.bias - zero_point * self.weights.sum(axis=1))

    def settled(self) -> Channels:
        """The same answers without weights where a channel's output is the same for every input.

        Trained nets have such channels, with shifts and biases at which the faster rounding is not exact.
        """
        outputs = self.outputs
        scaling = self.scaling
        fixed = outputs.low == outputs.high
        # (4 * steps) * 2^30 / 2^31 / 2^1 = steps
        bias = np.where(fixed, 4 * (outputs.low - scaling.zero_point), self.bias)
        return Channels(
            np.where(fixed[:, None], 0, self.weights),
            bias,
            replace(
                scaling,
                multipliers=np.where(fixed, 1 << 30, scaling.multipliers),
                rights=np.where(fixed, 1, scaling.rights),
            ),
            Range(np.where(fixed, bias, self.sums.low), np.where(fixed, bias, self.sums.high)),
        )


def checked_bias(operation: Operation, bias: Tensor | None, weights: npt.NDArray[np.int64]) -> Integers:
    """The biases of weights of shape (channels, products); zeros if there are none.

    Raises:
        ModelFileError: A sum may need more than 32 bits.
    """
    channels = len(weights)
    if channels > MAX_CHANNELS:
        raise operation.refuse(f"it has {channels} channels; accepted: up to {MAX_CHANNELS}")
    constant = None if bias is None else bias.data
    biases = np.zeros(channels, np.int64) if constant is None else constant.reshape(-1).astype(np.int64)
    if len(biases) != channels:
        raise operation.refuse(f"it has {len(biases)} biases for {channels} channels")
    bounds = np.abs(biases) + 256 * np.abs(weights).sum(axis=1)
    if (bounds >= 2**31).any():
        raise operation.refuse(f"its accumulators may reach {int(bounds.max())}; accepted: below 2^31")
    return biases


def weight_scales(operation: Operation, weights: Tensor, channels: int, axis: int) -> npt.NDArray[np.float64]:
    """The scale of each channel's weights.

    Raises:
        ModelFileError: There are neither one nor as many as channels, or a zero point is not 0.
    """
    if (weights.zero_points != 0).any():
        raise operation.refuse("its weights have a zero point other than 0")
    if len(weights.scales) not in (1, channels) or (len(weights.scales) > 1 and weights.axis != axis):
        raise operation.refuse(f"its weights have {len(weights.scales)} scales on axis {weights.axis}")
    return np.broadcast_to(weights.scales.astype(np.float64), (channels,))


def optional_bias(operation: Operation) -> Tensor | None:
    """The biases, if there are any.

    Raises:
        ModelFileError: They are not constants of 32 bits.
    """
    has_bias = len(operation.inputs) > 2 and operation.inputs[2] is not None
    return operation.constant(2, "int32") if has_bias else None


def paired(weights: npt.NDArray[np.int64]) -> npt.NDArray[np.int16]:
    """Weights of shape (channels, products) as `kernels/dot.c` reads them, each of two channels in 16 bits.

    Channels are filled up to a multiple of 4 and products to a multiple of 8, by zeros.
    """
    channels, products = weights.shape
    filled = np.pad(weights, [(0, -channels % 4), (0, -products % 8)])
    both = filled[0::2] + 256 * filled[1::2]
    # (fours of channels, pairs of them, fours of products, 2 x 2 of them) to the order of reading
    parts = both.reshape(len(filled) // 4, 2, -1, 2, 2)
    return np.ascontiguousarray(parts.transpose(0, 2, 4, 1, 3)).ravel().astype(np.int16)


def fits_in_pairs(weights: npt.NDArray[np.int64]) -> bool:
    """Whether `paired` can hold weights: all but -128 in an odd channel beside a negative one."""
    channels = len(weights) // 2 * 2
    return bool((weights[0:channels:2] + 256 * weights[1:channels:2] >= -(2**15)).all())


def in_fours(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """One value a channel, filled up to a multiple of 4 by zeros."""
    return np.pad(values, (0, -len(values) % 4))
