"""The simulation of ONNX files in QDQ form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_graph_simulate import items, small_net

from edgepress.converters.graph.onnx_scales import scales_of_onnx
from edgepress.converters.graph.program import Program
from edgepress.converters.graph.simulate import Simulation
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_onnx.from_tflite import float_onnx_of
from edgepress.converters.to_onnx.quantize import with_scheme


@pytest.fixture(scope="module")
def quantized() -> Any:
    return with_scheme(
        float_onnx_of(small_net()), SCHEMES["onnx-int8"], lambda: [items()], None, ("uint8-activations",)
    )


def test_answers_are_those_of_the_file(quantized):
    import onnxruntime

    program = Program(small_net())
    simulation = Simulation(program, scales_of_onnx(program, quantized))
    session = onnxruntime.InferenceSession(quantized.SerializeToString())
    (source,) = session.get_inputs()
    true = session.run(None, {source.name: items()})[0]
    step = (true.max() - true.min()) / 255
    found = simulation.answers(items())
    assert np.abs(found - true).max() <= 3 * step  # the output is float, so that hidden steps add up
    assert np.abs(found - true).mean() < 0.5 * step
    assert np.abs(program.answers(items()) - true).mean() > 0.7 * step


def test_weights_of_four_bits_are_found():
    made = with_scheme(float_onnx_of(small_net()), SCHEMES["onnx-int4"], lambda: [items()], None)
    program = Program(small_net())
    scales = scales_of_onnx(program, made)
    limits = [(scales.constants[step.weights].low, scales.constants[step.weights].high) for step in program.weighted()]
    assert limits == [(-128, 127), (-128, 127), (-8, 7), (-128, 127)]
    values = program.constants[list(program.weighted())[2].weights]
    largest = np.abs(values).max(axis=(1, 2, 3), keepdims=True)
    assert np.allclose(scales.constants[list(program.weighted())[2].weights].scale, largest / 7)


def test_scales_are_found_by_name(quantized):
    program = Program(small_net())
    scales = scales_of_onnx(program, quantized)
    assert {*scales.constants} == {step.weights for step in program.weighted()}
    assert {program.source, program.steps[0].output} <= {*scales.tensors}
    shapes = [scales.constants[step.weights].scale.shape for step in program.weighted()]
    assert shapes[:3] == [(8, 1, 1, 1), (1, 1, 1, 8), (8, 1, 1, 1)]
    relu6 = scales.tensors[program.steps[1].output]
    assert (relu6.low, relu6.high) == (0, 255)
    assert scales.tensors[program.steps[0].output].zero == 0
