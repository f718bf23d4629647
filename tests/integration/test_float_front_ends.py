"""What samplers, spectra and logarithms read stays float in quantized files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from onnx_rewriting import OnnxNet
from rewriting import Net

from edgepress.converters.calibration import tflite_statistics
from edgepress.converters.graph.program import Program
from edgepress.converters.ptq.score import runner
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_onnx.float_layers import float_chains
from edgepress.converters.to_onnx.graph import OnnxGraph
from edgepress.converters.to_tflite.convert import with_scheme
from edgepress.converters.to_tflite.float_layers import float_chain_names, reads_input
from edgepress.converters.to_tflite.graph import Graph
from edgepress.toolkit import convert

INT32 = 2
"""Of the schema's `TensorType`."""
ONE = np.array(1, np.float32)


def places(net: Net, kind: str) -> int:
    """Whole numbers of places that are computed from constants; 0.98 of them is another place than 1.0."""
    steps = [net.add("MUL", [np.arange(4, dtype=np.float32), np.array(0.5, np.float32)], (4,))]
    steps.append(net.add("ADD", [steps[-1], np.array(0.999, np.float32)], (4,)))
    if kind != "CAST":
        steps.append(net.add(kind, [steps[-1]], (4,)))
    steps.append(net.add("CAST", [steps[-1]], (4,)))
    net.graph.table.tensors[steps[-1]].type = INT32
    return steps[-1]


@pytest.mark.parametrize(("kind", "count"), [("FLOOR", 4), ("CEIL", 4), ("ROUND", 4), ("CAST", 3)])
def test_places_that_a_sampler_reads_are_exact(kind: str, count: int) -> None:
    net = Net((5, 4), 3)
    values = net.conv(6)
    net.add("GATHER", [values, places(net, kind)], (1, 4, 4, 6), axis=1)
    net.conv(4)
    model = net.model()
    assert len(float_chain_names(Graph(model))) == count
    items = np.random.default_rng(0).normal(size=(64, 5, 4, 3)).astype(np.float32)
    ranges = tflite_statistics(model, lambda: [items], None).ranges()
    file = with_scheme(model, SCHEMES["tflite-int8"], ranges, {"float-chains"}, uint8=False)
    exact, answers = (np.stack([runner(each)(item) for item in items[:16]]) for each in (model, file))
    assert 10 * np.log10(np.square(exact - exact.mean()).mean() / np.square(answers - exact).mean()) > 29


@pytest.mark.parametrize(("to", "found"), [("INT32", 3), ("UINT8", 3), ("FLOAT16", 4), ("BOOL", 0)])
def test_casts_of_onnx_to_integers_round(to: str, found: int) -> None:
    net = OnnxNet((3, 8, 8))
    net.add("Mul", ONE / 3)
    net.add("Slice", np.array([0]), np.array([2]), np.array([1]))
    net.add("Cast", to=getattr(TensorProto, to))
    net.add("Cast", to=TensorProto.INT64)
    model = net.model(TensorProto.INT64)
    assert len(float_chains(OnnxGraph(model))) == found


@pytest.mark.parametrize("kind", ["LOG", "SQRT", "TANH"])
@pytest.mark.parametrize("images", [False, True])
def test_what_comes_in_is_exact_where_its_logarithm_is_taken(kind: str, images: bool) -> None:
    """Energies of 1e-6 to 10; images are bytes, and come in as such."""
    net = Net((5, 4), 3)
    net.add(kind, [net.add("ADD", [net.now, np.array(1e-6, np.float32)], net.shape)], net.shape)
    net.conv(4)
    model = net.model()
    assert len(float_chain_names(Graph(model))) == (2 if kind != "TANH" else 0)
    assert reads_input(Graph(model)) == (kind != "TANH")
    items = (10 ** np.random.default_rng(0).uniform(-6, 1, (64, 5, 4, 3))).astype(np.float32)
    ranges = tflite_statistics(model, lambda: [items], None).ranges()
    file = with_scheme(model, SCHEMES["tflite-int8"], ranges, {"float-chains"}, uint8=images)
    assert Graph(file).dtype(int(Graph(file).table.inputs[0])) == (np.uint8 if images or kind == "TANH" else np.float32)
    if not images and kind != "TANH":
        exact, answers = (np.stack([runner(each)(item) for item in items[:16]]) for each in (model, file))
        assert 10 * np.log10(np.square(exact - exact.mean()).mean() / np.square(answers - exact).mean()) > 30


@pytest.mark.parametrize(("least", "found"), [(0.0, 4), (-0.1, 1)])
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("form", ["tflite", "onnx"])
def test_a_filter_bank_keeps_the_range_of_powers(form: str, least: float, found: int, side: int) -> None:
    """A spectrum of what comes in, squares, a product with weights on one side, a logarithm; or the logarithm alone."""
    weights = np.random.default_rng(0).uniform(0.1, 1, (8, 6)).astype(np.float32)
    weights[0, 0] = least
    if form == "tflite":
        net = Net((), 6)
        net.add("FULLY_CONNECTED", [net.now, -np.ones((6, 6), np.float32), -1], (1, 6))
        net.add("SQUARE", [net.now], (1, 6))
        net.add("FULLY_CONNECTED", [net.now, weights, -1], (1, 8))
        net.add("LOG", [net.now], (1, 8))
        assert len(float_chain_names(Graph(net.model()))) == found
    else:
        other = OnnxNet((6, 6))
        other.add("MatMul", -np.ones((6, 6), np.float32))
        other.add("Mul", other.now, other.now)
        other.add("MatMul", *([weights, other.now] if side else [other.now, weights.T.copy()]))
        other.add("Log")
        assert len(float_chains(OnnxGraph(other.model()))) == found


@pytest.mark.parametrize("between", [[], ["RELU"]])
def test_only_what_filters_make_of_the_input_is_a_spectrum(between: list[str]) -> None:
    """A convolution of what another has made is a layer, and layers have 8 bits."""
    net = Net((5, 4), 3)
    net.add("PAD", [net.now, np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32)], (1, 7, 6, 3))
    net.conv(6, (3, 3))
    for kind in between:
        net.add(kind, [net.now], net.shape)
        net.conv(6, (3, 3))
    real = net.add("SLICE", [net.now, np.array([0, 0, 0, 0], np.int32), np.array([1, 7, 6, 3], np.int32)], (1, 7, 6, 3))
    squares = net.add("SQUARE", [real], net.shape)
    net.add("LOG", [net.add("ADD", [squares, np.array(1e-6, np.float32)], net.shape)], net.shape)
    graph = Graph(net.model())
    names = float_chain_names(graph)
    kinds = [graph.kind(op) for op in graph.operators if graph.name(int(op.outputs[0])) in names]
    assert kinds == (["PAD", "CONV_2D", "SLICE", "SQUARE", "ADD", "LOG"] if not between else ["SQUARE", "ADD", "LOG"])
    assert reads_input(graph) == (not between)


@pytest.mark.parametrize("form", ["log(1 + relu)", "residual", "squares"])
def test_the_first_layer_of_a_net_is_no_spectrum(form: str) -> None:
    """Unless squares are taken of what it makes, and a logarithm of these."""
    net = Net((5, 4), 3)
    first = net.conv(6)
    shape = net.shape
    if form == "log(1 + relu)":
        net.add("ADD", [net.add("RELU", [first], shape), ONE], shape)
    elif form == "residual":
        net.add("ADD", [first, net.conv(6)], shape)
        net.add("SQUARE", [net.now], shape)
    else:
        net.add("SQUARE", [first], shape)
    net.add("LOG", [net.now], shape)
    graph = Graph(net.model())
    names = float_chain_names(graph)
    kinds = {graph.kind(op) for op in graph.operators if graph.name(int(op.outputs[0])) in names}
    assert ("CONV_2D" in kinds) == (form == "squares")
    assert "LOG" in kinds


@pytest.mark.parametrize("scheme", ["tflite-int8", "tflite-int16x8", "tflite-dynamic"])
def test_the_spectrum_of_a_sound_keeps_its_quiet_parts(scheme: str) -> None:
    """Sines of 1 to 1e-3 in noise, through a convolution with sines and cosines."""
    random = np.random.default_rng(0)
    turns = 2 * np.pi * np.outer(np.arange(1, 9), np.arange(32)) / 32
    taps = np.concatenate([np.cos(turns), np.sin(turns)]).astype(np.float32).reshape(16, 1, 32, 1)
    net = Net((1, 96), 1)
    net.add("CONV_2D", [net.now, taps, np.zeros(16, np.float32)], (1, 1, 5, 16), strideW=16, strideH=1, padding=1)
    squares = net.add("SQUARE", [net.now], net.shape)
    parts = [
        net.add(
            "SLICE", [squares, np.array([0, 0, 0, first], np.int32), np.array([1, 1, 5, 8], np.int32)], (1, 1, 5, 8)
        )
        for first in (0, 8)
    ]
    net.add("ADD", parts, net.shape)
    net.add("LOG", [net.add("MAXIMUM", [net.now, np.array(1e-7, np.float32)], net.shape)], net.shape)
    net.conv(4)
    model = net.model()
    sizes = 10 ** random.uniform(-3, 0, (64, 1, 8))
    items = np.einsum("nij,jt->nit", sizes, np.cos(2 * np.pi * np.outer(np.arange(1, 9), np.arange(96)) / 32))
    items = items.astype(np.float32)[..., np.newaxis]
    ranges = tflite_statistics(model, lambda: [items], None).ranges()
    file = with_scheme(model, SCHEMES[scheme], ranges, {"float-chains"}, uint8=False)
    exact, answers = (np.stack([runner(each)(item) for item in items[:16]]) for each in (model, file))
    assert 10 * np.log10(np.square(exact - exact.mean()).mean() / np.square(answers - exact).mean()) > 29


def test_files_of_dynamic_ranges_keep_filter_banks_in_float() -> None:
    random = np.random.default_rng(0)
    net = Net((), 64)
    net.add("FULLY_CONNECTED", [net.now, random.normal(size=(64, 64)).astype(np.float32), -1], (1, 64))
    net.add("SQUARE", [net.now], (1, 64))
    net.add("FULLY_CONNECTED", [net.now, random.uniform(size=(32, 64)).astype(np.float32), -1], (1, 32))
    net.add("LOG", [net.now], (1, 32))
    net.add("FULLY_CONNECTED", [net.now, random.normal(size=(64, 32)).astype(np.float32), -1], (1, 64))
    graph = Graph(with_scheme(net.model(), SCHEMES["tflite-dynamic"], None, uint8=False))
    types = [graph.dtype(int(op.inputs[1])) for op in graph.operators if graph.kind(op) == "FULLY_CONNECTED"]
    assert types == [np.float32, np.float32, np.int8]


def test_the_samples_of_a_spectrum_are_exact() -> None:
    """Also where it is not the input that is read, but a window of it."""
    net = Net((), 64)
    net.add("MUL", [net.now, np.hanning(64).astype(np.float32)], (1, 64))
    net.add("RESHAPE", [net.now, np.array([1, 1, 64], np.int32)], (1, 1, 64))
    net.add("RFFT2D", [net.now, np.array([1, 64], np.int32)], (1, 1, 33))
    graph = Graph(net.model())
    assert float_chain_names(graph) == [graph.name(int(op.outputs[0])) for op in graph.operators]
    assert reads_input(graph)


def mel_net(decibels: bool, seed: int) -> Any:
    """A net on the mel spectrogram of a sound, with sizes that are drawn, and sounds from soft to loud."""
    import keras

    random = np.random.default_rng(seed)
    fft = int(random.choice([128, 256, 512]))
    bins, samples = int(random.integers(16, 40)), int(random.integers(1500, 3000))
    layers = keras.layers
    sound = keras.Input((samples,))
    mel = layers.MelSpectrogram(
        fft_length=fft, sequence_stride=fft // 2, sampling_rate=8000, num_mel_bins=bins, power_to_db=decibels
    )(sound)
    picture = layers.Reshape((*mel.shape[1:], 1))(mel)
    scale = 1 / 40 if decibels else 1.0
    values = layers.Conv2D(8, 3, strides=2, activation="relu")(layers.Rescaling(scale)(picture))
    answer = layers.Dense(4, activation="softmax")(layers.GlobalAveragePooling2D()(values))
    times = np.arange(samples) / 8000
    frequency, loudness = 200 * 2 ** random.uniform(0, 4, (96, 1)), 10 ** random.uniform(-1.5, 0, (96, 1))
    sounds = loudness * (np.sin(2 * np.pi * frequency * times) + 0.05 * random.normal(size=(96, samples)))
    return keras.Model(sound, answer), np.clip(sounds, -1, 1).astype(np.float32)


@pytest.mark.parametrize("decibels", [True, False])
def test_mel_spectrograms_stay_float_in_every_scheme(decibels: bool, tmp_path: Path) -> None:
    """Before, `Max` bounded the matrix product by what its integers keep, and int8 files answered at random."""
    model, sounds = mel_net(decibels, seed=int(decibels))
    schemes = ["tflite-int8", "tflite-int16x8", "tflite-dynamic", "onnx-int8", "onnx-dynamic"]
    schemes += ["tflite-mixed"] if decibels else []  # an untrained net on powers has ties
    variants = convert(model, schemes, data={"x": sounds}, out=tmp_path)
    least = 15 if not decibels else 25
    for variant in variants:
        assert variant.path is not None, f"{variant.scheme}: {variant.error}"
        assert variant.verification is not None
        assert (variant.verification.sqnr_db or 99) > least, variant.scheme
        assert not any("no repairs" in note for note in variant.notes)


@given(st.integers(0, 2**32), st.booleans(), st.integers(2, 5))
@settings(max_examples=10)
def test_each_item_has_its_own_largest_value(seed: int, keeps: bool, count: int) -> None:
    """A graph of one item may reduce its batch axis, too; items that are run together must not see each other."""
    net = Net((3, 4), 2)
    shape = (1, 1, 1, 1) if keeps else ()
    values = net.now
    largest = net.add("REDUCE_MAX", [values, np.arange(4, dtype=np.int32)], shape, keepDims=keeps)
    bound = net.add("SUB", [largest, np.array(1.5, np.float32)], shape)
    net.add("MAXIMUM", [values, bound], (1, 3, 4, 2))
    program = Program(net.model())
    items = np.random.default_rng(seed).normal(size=(count, 3, 4, 2)).astype(np.float32)
    together = np.asarray(program.run(items)[program.sink])
    largest_values = items.max(axis=(1, 2, 3), keepdims=True)
    np.testing.assert_allclose(together, np.maximum(items, largest_values - 1.5), rtol=1e-6)
