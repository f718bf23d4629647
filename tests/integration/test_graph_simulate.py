"""The simulation of quantized files: their answers, parts of them, and gradients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from int8_graphs import Net
from rewriting import Net as Windows

from edgepress.converters.calibration import tflite_statistics
from edgepress.converters.graph.program import Program
from edgepress.converters.graph.simulate import Scales, Simulation, TensorGrid
from edgepress.converters.graph.tflite_scales import scales_of_tflite
from edgepress.converters.ptq.score import runner
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_tflite.convert import with_scheme


def items(count: int = 16) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(count, 8, 8, 3)).astype(np.float32)


def small_net() -> bytes:
    made = Windows((8, 8), 3)
    made.conv(8, (3, 3), act=1)
    made.depthwise((3, 3), stride=2, act=3)
    skip = made.now
    made.conv(8, (9, 9))
    made.add("ADD", [made.now, skip], (1, 4, 4, 8), fusedActivationFunction=1)
    made.add(
        "AVERAGE_POOL_2D", [made.now], (1, 2, 2, 8), filterHeight=2, filterWidth=2, strideH=2, strideW=2, padding=1
    )
    made.add("RESHAPE", [made.now, np.array([1, 32], np.int32)], (1, 32))
    made.add("FULLY_CONNECTED", [made.now, made.random.normal(size=(5, 32)).astype(np.float32)], (1, 5))
    return made.model()


def quantized(model: bytes, scheme: str) -> bytes:
    return with_scheme(model, SCHEMES[scheme], tflite_statistics(model, lambda: [items()], None).ranges(), uint8=False)


@pytest.mark.parametrize("scheme", ["tflite-int8", "tflite-int4"])
def test_answers_are_those_of_the_file(scheme):
    model = small_net()
    file = quantized(model, scheme)
    program = Program(model)
    simulation = Simulation(program, scales_of_tflite(program, file))
    answer = runner(file)
    true = np.stack([answer(item) for item in items()]).reshape(16, -1)
    found = simulation.answers(items())
    step = simulation.scales.tensors[program.sink].scale
    assert np.abs(found - true).max() <= 1.01 * step
    assert np.abs(found - true).mean() < 0.02 * step
    assert np.abs(program.answers(items()) - true).max() > step  # rounding does something


def test_weights_have_scales_per_channel_and_ties_are_kept():
    model = small_net()
    program = Program(model)
    scales = scales_of_tflite(program, quantized(model, "tflite-int4"))
    first, depthwise, second, last = (scales.constants[step.weights] for step in program.weighted())
    assert (second.low, second.high, second.scale.shape) == (-8, 7, (8, 1, 1, 1))
    assert (first.high, depthwise.high, last.high) == (127, 127, 127)  # these stay of 8 bits
    assert depthwise.scale.shape == (1, 1, 1, 8)
    pool, flat = (scales.tensors[step.output] for step in program.steps[4:6])
    assert pool.key == flat.key
    assert not scales.reads


def test_only_what_is_named_is_rounded():
    model = small_net()
    program = Program(model)
    simulation = Simulation(program, scales_of_tflite(program, quantized(model, "tflite-int8")))
    true = program.answers(items())
    assert np.allclose(simulation.answers(items(), only=()), true, atol=1e-6)
    errors = {
        name: np.abs(simulation.answers(items(), only={name}) - true).max()
        for name in (program.steps[0].output, program.steps[0].weights)
    }
    whole = np.abs(simulation.answers(items()) - true).max()
    assert all(0 < error < 2 * whole for error in errors.values())


def test_what_stays_float_is_not_rounded():
    model = small_net()
    program = Program(model)
    scales = scales_of_tflite(program, quantized(model, "tflite-weights8"))
    assert not scales.tensors
    assert {*scales.constants} == {step.weights for step in program.weighted()}


def test_a_tensor_that_is_read_with_two_scales_is_rounded_twice_for_one_reader():
    """A conversion of int8 to int8 has a factor of 8 binary places."""
    made = Net((1, 4), scale=0.05)
    other = made.op("QUANTIZE", [made.input], (1, 4), scale=0.07)
    made.op("ADD", [other, made.input], (1, 4), scale=0.1)
    made.graph.tensors[3 - 1].name = b"sum"
    float_net = Net((1, 4), scale=0, dtype=np.float32)
    float_net.op("ADD", [float_net.input, float_net.input], (1, 4), scale=0, dtype=np.float32)
    float_net.graph.tensors[1].name = b"sum"
    program = Program(float_net.model())
    scales = scales_of_tflite(program, made.model())
    (again,) = scales.reads["sum", 0]
    assert again.scale == np.float32(0.07)
    assert again.gain == pytest.approx(183 / 256 / (0.05 / 0.07))
    assert {*scales.tensors} == {"t0", "sum"}
    values = np.arange(-128, 128, dtype=np.int8).reshape(64, 4)
    answer = runner(made.model())
    true = np.stack([answer(0.05 * row.astype(np.float32)) for row in values]).reshape(64, 4)
    found = Simulation(program, scales).answers(0.05 * values.astype(np.float32))
    assert np.allclose(found, true, atol=1e-6)


@settings(max_examples=10)
@given(
    values=st.lists(st.floats(-20, 20, width=32, allow_subnormal=False), min_size=1, max_size=8),
    # TensorFlow takes subnormal numbers for zero where the CPU lets it; NumPy does not.
    scale=st.sampled_from([0.05, 0.1, 1.0]),
    zero=st.sampled_from([-128, -3, 0, 100]),
)
def test_values_are_rounded_and_clipped_with_straight_through_gradients(values, scale, zero):
    import tensorflow as tf

    rounding = TensorGrid(np.array(scale, np.float32), zero, -128, 127)
    x, size = tf.constant(values), tf.constant(scale)
    with tf.GradientTape() as tape:
        tape.watch([x, size])
        y = rounding.apply(x, size)
    steps = np.float32(values) / np.float32(scale)
    integers = np.clip(np.rint(steps), -128 - zero, 127 - zero)
    assert np.array_equal(y, integers.astype(np.float32) * np.float32(scale))
    to_x, to_size = tape.gradient(y, [x, size])
    inside = (steps >= -128 - zero) & (steps <= 127 - zero)
    assert np.array_equal(np.asarray(to_x) > 0.5, inside)
    assert float(to_size) == pytest.approx(float((integers - np.where(inside, steps, 0)).sum()), abs=1e-2)


@pytest.mark.parametrize(
    ("halves", "expected"), [("even", [0, 2, 2, -2]), ("up", [1, 2, 3, -1]), ("away", [1, 2, 3, -2])]
)
def test_halves_go_where_the_kernels_send_them(halves, expected):
    rounding = TensorGrid(np.array(1, np.float32), 0, -128, 127, halves)
    assert rounding.apply(np.float32([0.5, 1.5, 2.5, -1.5])).numpy().tolist() == expected


def test_scales_may_be_variables():
    import tensorflow as tf

    program = Program(small_net())
    simulation = Simulation(program, scales_of_tflite(program, quantized(small_net(), "tflite-int8")))
    name = program.steps[2].output
    size = tf.Variable(simulation.scales.tensors[name].scale)
    with tf.GradientTape() as tape:
        answers = simulation.run(items(), sizes={name: size})[program.sink]
        loss = tf.reduce_sum(answers[:, 0])
    assert abs(float(tape.gradient(loss, size))) > 0
    assert np.allclose(answers, simulation.answers(items()), atol=simulation.scales.tensors[program.sink].scale * 1.1)


def test_nothing_is_rounded_without_scales():
    program = Program(small_net())
    assert np.allclose(Simulation(program, Scales({}, {})).answers(items()), program.answers(items()), atol=1e-6)
