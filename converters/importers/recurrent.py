"""Recurrent layers (RNN, GRU and LSTM 22), one step after the other: TFLite's quantizers know no loops.

What the input adds is one product for all steps. Formulas and the order of gates:
https://onnx.ai/onnx/operators/onnx__LSTM.html and the pages of GRU and RNN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from edgepress.converters.arrays import Array
from edgepress.converters.importers.activations import hard_sigmoid, softplus
from edgepress.converters.importers.node import Node, Operation, Results, Value, first, plain

MOST_STEPS = 1024
"""Of one layer: each becomes a dozen operations."""
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
"""The activations of one direction."""
ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "Affine": lambda x, alpha=1.0, beta=0.0: alpha * x + beta,
    "Elu": lambda x, alpha=1.0: tf.nn.leaky_relu(tf.nn.elu(x), alpha),
    "HardSigmoid": hard_sigmoid,
    "LeakyRelu": lambda x, alpha=0.01: tf.nn.leaky_relu(x, alpha),
    "Relu": tf.nn.relu,
    "ScaledTanh": lambda x, alpha=1.0, beta=1.0: alpha * tf.tanh(beta * x),
    "Sigmoid": tf.sigmoid,
    "Softplus": softplus,
    "Softsign": lambda x: x / (1 + tf.abs(x)),
    "Tanh": tf.tanh,
    "ThresholdedRelu": lambda x, alpha=1.0: tf.where(x > alpha, x, tf.zeros_like(x)),
}
TAKES_ALPHA = ("Affine", "Elu", "HardSigmoid", "LeakyRelu", "ScaledTanh", "ThresholdedRelu")
TAKES_BETA = ("Affine", "HardSigmoid", "ScaledTanh")


@dataclass(frozen=True)
class Direction:
    """The parameters of one direction of a layer.

    Attributes:
        inputs: Weights of the input, (gates x hidden, inputs).
        states: Weights of the state, (gates x hidden, hidden).
        biases: Of the input and of the state, (2, gates x hidden).
        peepholes: Of an LSTM, (3, hidden), of the gates for input, output and forgetting; zeros if it has none.
        functions: Its activations.
        clip: Limit of what activations take; None if there is none.
        resets_after: Whether a GRU resets the product with the state instead of the state.
    """

    inputs: Array
    states: Array
    biases: Array
    peepholes: Array
    functions: Sequence[Callable[[Any], Any]]
    clip: float | None
    resets_after: bool

    @property
    def hidden(self) -> int:
        """Size of the state."""
        return int(self.states.shape[1])

    def limited(self, x: Any) -> Any:
        """What an activation takes."""
        return x if self.clip is None else tf.clip_by_value(x, -self.clip, self.clip)


def recurrent(node: Node, value: Value, *given: Value | None) -> Results:
    """RNN, GRU or LSTM: all states, the last state, and of an LSTM the last cell."""
    parts = [*given, *[None] * 7][:7]
    weights, states, bias, lengths, hidden, cell, peepholes = parts
    assert weights is not None
    assert states is not None
    x = first(value)  # (steps, batch, inputs)
    if node.get("layout", 0):
        x = tf.transpose(x, [1, 0, 2])
    steps, batch, _ = x.shape
    if lengths is not None and {*node.numbers(lengths, "lengths")} != {steps}:
        raise node.refused("it has sequences of several lengths")
    if steps > MOST_STEPS:
        raise node.refused(f"it has {steps} steps; up to {MOST_STEPS} are written one after the other")
    if node.get("input_forget", 0):
        raise node.refused("its gates of input and forgetting are coupled")
    made = []
    for number in range(weights.shape[0]):
        direction = _direction(node, number, weights, states, bias=bias, peepholes=peepholes)
        begin = [_begin(node, each, number, batch, direction.hidden) for each in (hidden, cell)]
        is_backward = node.get("direction", "forward") == "reverse" or number == 1
        made.append(_run(node.kind, direction, x, begin, is_backward=is_backward))
    return _results(node, made)


def _results(node: Node, made: Sequence[tuple[list[Any], Any, Any]]) -> Results:
    """What the directions made, as ONNX arranges it."""
    has_batch_first = bool(node.get("layout", 0))
    whole = tf.stack([tf.stack(outputs) for outputs, _, _ in made], axis=1)  # (steps, directions, batch, hidden)
    lasts = [tf.stack(each) for each in zip(*(each[1:] for each in made), strict=True)]
    if has_batch_first:
        whole = tf.transpose(whole, [2, 0, 1, 3])
        lasts = [tf.transpose(each, [1, 0, 2]) for each in lasts]
    results = [plain(whole), *map(plain, lasts)]
    return tuple(results if node.kind == "LSTM" else results[:2])


def _direction(
    node: Node, number: int, weights: Value, states: Value, *, bias: Value | None, peepholes: Value | None
) -> Direction:
    hidden = states.shape[2]
    size = GATES[node.kind] * hidden
    biases = np.zeros((2, size), np.float32)
    if bias is not None:
        biases = node.known(bias, "bias").stored[number].reshape(2, size)
    holes = np.zeros((3, hidden), np.float32)
    if peepholes is not None:
        holes = node.known(peepholes, "peepholes").stored[number].reshape(3, hidden)
    return Direction(
        node.known(weights, "weights").stored[number],
        node.known(states, "weights").stored[number],
        biases,
        holes,
        _functions(node, number),
        node.get("clip"),
        bool(node.get("linear_before_reset", 0)),
    )


def _functions(node: Node, number: int) -> list[Callable[[Any], Any]]:
    """The activations of a direction; each takes the next of the given parameters that it has."""
    count = len(DEFAULTS[node.kind])
    names = node.get("activations") or DEFAULTS[node.kind] * (number + 1)
    alphas = iter(node.get("activation_alpha") or [])
    betas = iter(node.get("activation_beta") or [])
    functions: list[Callable[[Any], Any]] = []
    for name in names:
        name = next((known for known in ACTIVATIONS if known.lower() == name.lower()), "")
        if not name:
            raise node.refused(f"its activations are {', '.join(names)}")
        options = {}
        if name in TAKES_ALPHA and (alpha := next(alphas, None)) is not None:
            options["alpha"] = alpha
        if name in TAKES_BETA and (beta := next(betas, None)) is not None:
            options["beta"] = beta
        functions.append(partial(ACTIVATIONS[name], **options))
    return functions[number * count :][:count]


def _begin(node: Node, value: Value | None, number: int, batch: int, hidden: int) -> Any:
    """The state that a direction begins with, (batch, hidden)."""
    if value is None:
        return tf.zeros((batch, hidden))
    return first(value)[:, number] if node.get("layout", 0) else first(value)[number]


def _run(kind: str, direction: Direction, x: Any, begin: Sequence[Any], *, is_backward: bool) -> Any:
    """All states in the order of the steps, the last state, and the last cell."""
    step = {"RNN": _rnn_step, "GRU": _gru_step, "LSTM": _lstm_step}[kind]
    steps = x.shape[0]
    added = direction.biases[0].copy()
    rest = direction.biases[1].copy()
    if not (kind == "GRU" and direction.resets_after):  # whose bias of the state is reset, too
        added, rest = added + rest, rest * 0
    products = tf.unstack(tf.matmul(x, np.ascontiguousarray(direction.inputs.T)) + added)
    state, cell = begin
    outputs = []
    for number in reversed(range(steps)) if is_backward else range(steps):
        state, cell = step(direction, products[number], state, cell, rest)
        outputs.append(state)
    return outputs[::-1] if is_backward else outputs, state, cell


def _of_state(direction: Direction, state: Any, gates: slice = slice(None)) -> Any:
    return tf.matmul(state, np.ascontiguousarray(direction.states[gates].T))


def _rnn_step(direction: Direction, product: Any, state: Any, cell: Any, rest: Array) -> tuple[Any, Any]:
    (function,) = direction.functions
    return function(direction.limited(product + _of_state(direction, state))), cell


def _gru_step(direction: Direction, product: Any, state: Any, cell: Any, rest: Array) -> tuple[Any, Any]:
    """The gates are those of the update, of the reset, and the candidate."""
    gate, function = direction.functions
    size = direction.hidden
    both = slice(0, 2 * size)
    sums = product[:, both] + _of_state(direction, state, both) + rest[both]
    update, reset = tf.split(gate(direction.limited(sums)), 2, -1)
    after = slice(2 * size, 3 * size)
    if direction.resets_after:
        of_state = reset * (_of_state(direction, state, after) + rest[after])
    else:
        of_state = _of_state(direction, reset * state, after)
    candidate = function(direction.limited(product[:, after] + of_state))
    return candidate + update * (state - candidate), cell


def _lstm_step(direction: Direction, product: Any, state: Any, cell: Any, rest: Array) -> tuple[Any, Any]:
    """The gates are those of the input, of the output, of forgetting, and the candidate."""
    gate, function, end = direction.functions
    into, out, forget, candidate = tf.split(product + _of_state(direction, state), 4, -1)
    holes = direction.peepholes
    if holes.any():
        into = into + holes[0] * cell
        forget = forget + holes[2] * cell
    kept = gate(direction.limited(forget)) * cell
    cell = kept + gate(direction.limited(into)) * function(direction.limited(candidate))
    if holes.any():
        out = out + holes[1] * cell
    return gate(direction.limited(out)) * end(cell), cell


RECURRENT: dict[str, Operation] = {"GRU": recurrent, "LSTM": recurrent, "RNN": recurrent}
