"""Graphs with UNIDIRECTIONAL_SEQUENCE_LSTM, drawn from a name; they keep their state from item to item."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from c99_graphs import Maker

DRAWN = 14
"""Graphs of one LSTM."""
GATES = 4
SMALLEST_POWER, LARGEST_POWER = -16, -6
"""Exponents of the scale of cells."""


class Recurrent(Maker):
    """A maker of series, shape (time, channels)."""

    def lstm(self, count: int, *, batch_first: bool = True, clip: float = 0.0) -> Recurrent:
        """UNIDIRECTIONAL_SEQUENCE_LSTM of `count` outputs, whose gates are small, fit their range, or saturate."""
        time, depth = self.shape
        shown = float(self.chance.uniform(0.004, 0.02))
        zero = int(self.chance.integers(-128, 128))
        inputs, biases = [self.at], []
        for scale, width in ((self.scale, depth), (shown, count)):
            for _ in range(GATES):
                spread = 74 * 74 * width**0.5 * scale
                step = float(self.one(0.3, 1.0, 3.0, 20.0) / spread)
                values = self.chance.integers(-127, 128, (count, width)).astype(np.int8)
                inputs.append(self.net.constant(values, [step]))
                if scale == self.scale and len(biases) < GATES:
                    bias = self.chance.normal(size=count) / (scale * step)
                    biases.append(self.net.constant(bias.round().astype(np.int32), [scale * step]))
        states = self._states(count, shown, zero)
        inputs += [-1] * 3 + biases + [-1] * 2 + states + [-1] * 4
        if not batch_first:
            self._reshape((time, 1, depth))
            inputs[0] = self.at
        shape = (1, time, count) if batch_first else (time, 1, count)
        self.at = self.net.op(
            "UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, shape, shown, zero, table="UnidirectionalSequenceLSTM",
            fusedActivationFunction=4, cellClip=clip, timeMajor=not batch_first,
        )  # fmt: skip
        hidden = self.net.tensor((0,), shown, zero)  # which LiteRT needs to open the file
        self.net.graph.operators[-1].intermediates = [
            *(self.net.tensor((0,), dtype=np.float32) for _ in range(4)),
            hidden,
        ]
        self.shape, self.scale = (time, count), shown
        if not batch_first:
            self._reshape((1, time, count))
        return self

    def _states(self, count: int, scale: float, zero: int) -> list[int]:
        power = int(self.chance.integers(SMALLEST_POWER, LARGEST_POWER + 1))
        made = [self.net.tensor((1, count), scale, zero), self.net.tensor((1, count), 2.0**power, 0, np.int16)]
        for index in made:
            self.net.graph.tensors[index].isVariable = True
        return made

    def _reshape(self, shape: tuple[int, ...]) -> None:
        zero = int(self.net.graph.tensors[self.at].quantization.zeroPoint[0])
        to = self.net.constant(np.array(shape, np.int32))
        self.at = self.net.op("RESHAPE", [self.at, to], shape, self.scale, zero, newShape=list(shape))


def single(name: str) -> bytes:
    """One LSTM of drawn sizes, in either layout, with a limit of its cells or without."""
    drawn = Maker(f"sizes of {name}", (0, 0))
    m = Recurrent(name, (drawn.one(1, 3, 7, 12), drawn.one(1, 5, 8, 13, 24)))
    return m.lstm(m.one(1, 4, 6, 8, 11, 20), batch_first=m.one(True, False), clip=m.one(0.0, 0.5, 10.0)).model()


def stacked(name: str) -> bytes:
    """Two LSTMs between a convolution and a classifier."""
    m = Recurrent(name, (9, 4, 3))
    m.conv(m.one(5, 8), (3, 4), same=False)
    m._reshape((1, m.shape[0], m.shape[2]))
    m.shape = (m.shape[0], m.shape[2])
    m.lstm(7, clip=10.0).lstm(m.one(5, 12), clip=m.one(0.0, 1.0))
    return m.dense(6).end("SOFTMAX", beta=1.0).model()


GRAPHS: dict[str, Callable[[str], bytes]] = {
    **{f"lstm-{number}": single for number in range(DRAWN)},
    **{f"lstm-stacked-{number}": stacked for number in range(3)},
}
"""What makes each graph, from its name."""
