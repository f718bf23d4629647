"""Mixed precision: which layers stay float, that the limit holds, and what a user is told."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rewriting import Net

from edgepress.converters.calibration import tflite_statistics
from edgepress.converters.errors import ConversionError
from edgepress.converters.float_layers import NOTHING, FloatLayer, FloatLayers, KeepOptions, layer_name, matching
from edgepress.converters.graph.program import Program, UnknownOperationError
from edgepress.converters.graph.tflite_scales import scales_of_tflite
from edgepress.converters.mixed_precision.choose import choose
from edgepress.converters.mixed_precision.layers import layers_of
from edgepress.converters.mixed_precision.ranking import FloatSet, Ranking
from edgepress.converters.mixed_precision.sensitivity import LayerSimulation
from edgepress.converters.ptq.score import Scorer, answers_before_end
from edgepress.converters.rewrites.table import rewrites_for, rewritten_tflite
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.targets import schemes_for
from edgepress.converters.to_onnx import quantize as to_onnx
from edgepress.converters.to_onnx.float_layers import float_nodes
from edgepress.converters.to_onnx.from_tflite import float_onnx_of
from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.converters.to_tflite.convert import _with_extensions, with_scheme
from edgepress.converters.to_tflite.graph import Graph
from edgepress.runtime import InputError, load
from edgepress.toolkit.conversion import convert

Array = Any
MIXED = SCHEMES["tflite-mixed"]
WIDE, READER = "layer3", "layer5"
"""The depthwise convolution of `net` whose channels may differ in scale, and what reads them behind a pool."""


def items(seed: int, count: int = 150) -> Array:
    return np.random.default_rng(seed).normal(size=(count, 8, 8, 3)).astype(np.float32)


def net(*, wide: bool) -> bytes:
    """Five layers with weights; with `wide`, the same function with an inner tensor that eight bits can't hold."""
    made = Net((8, 8), 3, seed=4)
    made.conv(8, (3, 3), act=1)
    made.conv(16, act=1)
    made.depthwise((3, 3))
    made.add("MAX_POOL_2D", [made.now], (1, 4, 4, 16), strideH=2, strideW=2, filterHeight=2, filterWidth=2)
    made.conv(16, act=1)
    made.conv(12, (3, 3), act=1)
    made.add("MEAN", [made.now, np.array([1, 2], np.int32)], (1, 12))
    weights, bias = (made.random.normal(size=shape).astype(np.float32) for shape in ((10, 12), (10,)))
    made.add("FULLY_CONNECTED", [made.now, weights, bias], (1, 10))
    model = made.model()
    if not wide:
        return model
    program = Program(model)
    writer, reader = (next(s for s in program.steps if s.output == name) for name in (WIDE, READER))
    factors = np.float32(2.0) ** np.linspace(-7, 7, 16).round().astype(np.float32)
    held = program.constants
    return program.with_constants(
        {
            writer.weights: held[writer.weights] * factors,
            writer.bias: held[writer.bias] * factors,
            reader.weights: held[reader.weights] / factors,
        }
    )


class Case:
    """A net, what makes its files, and its judge."""

    def __init__(self, *, wide: bool) -> None:
        self.model = net(wide=wide)
        self.ranges = tflite_statistics(self.model, lambda: [items(0)], None).ranges()
        self.judge = Scorer(self.model, items(1))
        self.made: list[FloatLayers] = []

    def make(self, kept: FloatLayers) -> bytes:
        self.made.append(kept)
        return with_scheme(self.model, MIXED, self.ranges, uint8=False, float_layers=kept)

    def choose(self, pattern: str = "", drop: float | None = None) -> FloatLayers:
        return choose(self.model, self.make, self.judge, items(0), options=KeepOptions(pattern, drop))


@pytest.fixture(scope="module")
def wide() -> Case:
    return Case(wide=True)


@pytest.fixture(scope="module")
def kept(wide: Case) -> FloatLayers:
    """What is chosen for the net with a wide tensor, with a limit of 6 pp."""
    return wide.choose(drop=6.0)


def test_the_layer_that_eight_bits_ruin_is_kept_and_no_other(wide: Case, kept: FloatLayers) -> None:
    """The tensor is made by one layer and read by another behind a pool, so that these three compute in float."""
    assert [layer.name for layer in kept.layers] == [WIDE, "layer4", READER]
    before, after = kept.record["drop_pp"]
    assert before > 30
    assert after <= 6
    assert kept.record["measure"] == "agreement with the source model"
    kinds = types(wide.make(kept))
    assert kinds[WIDE] == kinds[READER] == np.float32
    assert kinds["layer2"] == kinds["layer6"] == np.int8


def types(file: bytes) -> dict[str, Any]:
    """Type of each tensor that is computed, by name."""
    graph = Graph(file)
    return {graph.name(int(op.outputs[0])): graph.dtype(int(op.outputs[0])) for op in graph.operators}


def test_the_limit_holds_on_items_that_nobody_has_seen(wide: Case, kept: FloatLayers) -> None:
    judge = Scorer(wide.model, items(2, 400))
    plain, mixed = (judge.score_file(wide.make(choice)).agreement for choice in (NOTHING, kept))
    assert plain is not None
    assert mixed is not None
    assert plain < 0.7
    assert mixed > 0.92


@pytest.mark.parametrize("place", [0, 2])
def test_a_float_input_stays_float_where_the_first_layer_does(wide: Case, place: int) -> None:
    """Samples with rare large values lose the small ones in 256 steps."""
    layer = layers_of(Program(wide.model))[place]
    loud = items(3).copy()
    loud[0] *= 3000
    ranges = tflite_statistics(wide.model, lambda: [loud], None).ranges()
    kept = FloatLayers((FloatLayer(layer.name, layer.outputs, weights="float32"),))
    file = with_scheme(wide.model, MIXED, ranges, uint8=False, float_layers=kept)
    assert input_type(file) == (flat.UINT8 if place else flat.FLOAT32)
    pixels = with_scheme(wide.model, MIXED, ranges, uint8=True, float_layers=kept)
    assert input_type(pixels) == flat.UINT8, "pixels lose nothing"


def test_what_rewrites_put_in_front_of_a_float_layer_is_float_too() -> None:
    """The columns of a strided convolution become channels, behind PAD and RESHAPE."""
    made = Net((8, 8), 1, seed=4)
    made.conv(8, (3, 4), act=1, stride=2)
    made.conv(8, (3, 3), act=1)
    model = made.model()
    rewritten, done = rewritten_tflite(model, rewrites_for(MIXED, "cpu", "float"))
    assert {"wide-taps", "line-pads"} <= {*done}
    ranges = tflite_statistics(rewritten, lambda: [items(3)[..., :1]], None).ranges()
    first = layers_of(Program(model))[0]
    kept = FloatLayers((FloatLayer(first.name, first.outputs, weights="float32"),))
    file = with_scheme(rewritten, MIXED, ranges, uint8=False, float_layers=kept)
    assert input_type(file) == flat.FLOAT32
    kinds = types(file)
    before = list(kinds)[: list(kinds).index(first.outputs[0]) + 1]
    assert len(before) > 2
    assert {kinds[name] for name in before} == {np.dtype(np.float32)}


@pytest.mark.parametrize(("name", "extends"), [("dense_columns", True), ("dense_pad_2", True), ("dense_1", False)])
def test_a_layer_whose_name_has_a_number_more_is_another_one(name: str, extends: bool) -> None:
    names = [name, "dense"]
    first, second = (SimpleNamespace(outputs=[i]) for i in range(2))
    graph: Any = SimpleNamespace(operators=[first, second], readers=lambda: {0: [second]}, name=names.__getitem__)
    assert _with_extensions(graph, {"dense"}) == (sorted(names) if extends else ["dense"])


def input_type(file: bytes) -> int:
    _, graph = flat.read(file)
    return int(graph.tensors[int(graph.inputs[0])].type)


def test_nothing_is_kept_if_eight_bits_hold_the_limit() -> None:
    case = Case(wide=False)
    chosen = case.choose(drop=10.0)
    assert chosen.layers == ()
    assert "nothing is kept in float" in chosen.notes[0]
    assert case.make(chosen) == with_scheme(case.model, SCHEMES["tflite-int8"], case.ranges, uint8=False)


def test_named_layers_are_kept_whatever_they_cost(wide: Case) -> None:
    chosen = wide.choose("^layer[15]$")
    assert [(layer.name, layer.weights, layer.why) for layer in chosen.layers] == [
        ("layer1", "float32", "named by --keep-float"),
        ("layer5", "float32", "named by --keep-float"),
    ]
    assert "max_drop_pp" not in chosen.record
    more = wide.choose("^layer1$", 6.0)
    assert {layer.name for layer in more.layers} >= {"layer1", WIDE, READER}


def test_a_name_that_matches_nothing_is_an_error_with_names_that_are_near(wide: Case) -> None:
    with pytest.raises(ConversionError, match="'layr3' matches none of the model's 8 layers") as e:
        wide.choose("layr3")
    assert "layer3" in e.value.hint
    assert matching("b|c$", ["a", "net/b", "bc", "cd"]) == ("net/b", "bc")


def test_a_limit_that_can_not_be_kept_is_an_error(wide: Case) -> None:
    plain = wide.make(NOTHING)
    with pytest.raises(ConversionError, match="pp of agreement with the source model; the limit is 1"):
        choose(wide.model, lambda kept: plain, wide.judge, items(0), options=KeepOptions("", 1.0))


def test_layers_are_added_where_the_simulation_sees_no_loss(wide: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real files decide: the wide tensor is found although its rounding seems to cost nothing."""
    monkeypatch.setattr(LayerSimulation, "divergence", lambda simulation, names: float("layer7" in names))
    chosen = wide.choose(drop=6.0)
    assert {WIDE, READER} <= {layer.name for layer in chosen.layers}
    assert np.dtype(np.int8) in types(wide.make(chosen)).values()


def test_a_few_items_beyond_the_limit_are_no_loss_if_the_answers_are_not_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    """4 of 150 items are 2.7 pp, but chance; the float graph itself is unsure about them."""
    case = Case(wide=False)
    before = case.judge.score_file(case.model)
    lost = dataclasses.replace(before, agreement=1 - 4 / 150, hits=np.arange(150) >= 4)
    monkeypatch.setattr(case.judge, "score_file", lambda file: before if file == case.model else lost)
    chosen = case.choose(drop=1.0)
    assert not chosen.layers
    assert chosen.record["drop_pp"][0] == pytest.approx(100 * 4 / 150, abs=1e-3)
    assert chosen.record["expected_drop_pp"][0] <= 1


def test_labels_that_chance_made_right_do_not_hide_a_loss(wide: Case) -> None:
    """The int8 file happens to be right on as many items as it loses, but the float graph's own certainty tells."""
    own, other = (answers_before_end(file, items(1)).argmax(1) for file in (wide.model, wide.make(NOTHING)))
    (differing,) = np.nonzero(own != other)
    labels = own.copy()
    labels[differing[::2]] = other[differing[::2]]
    judge = Scorer(wide.model, items(1), labels)
    chosen = choose(wide.model, wide.make, judge, items(0), options=KeepOptions("", 6.0))
    assert chosen.record["drop_pp"][0] <= 0 < 6 < chosen.record["expected_drop_pp"][0]
    assert chosen.record["expected_drop_pp"][1] <= 6
    assert {WIDE, READER} <= {layer.name for layer in chosen.layers}


@pytest.mark.slow
def test_a_float_graph_that_is_too_sure_expects_no_more_than_its_labels_show(wide: Case) -> None:
    """A fifth of its answers is wrong, however sure it is: what changes is not lost for certain."""
    own, other = (answers_before_end(file, items(1)).argmax(1) for file in (wide.model, wide.make(NOTHING)))
    wrong = np.arange(len(own)) % 5 == 0
    labels = np.where(wrong, (own + 1) % (own.max() + 1), own)
    expected = [
        choose(wide.model, wide.make, Scorer(wide.model, items(1), y), items(0), options=KeepOptions("", 50.0))
        for y in (own, labels)
    ]
    sure, unsure = (chosen.record["expected_drop_pp"][0] for chosen in expected)
    assert unsure < 0.8 * sure
    assert sure <= 100 * (own != other).mean()


def swish_features(dense: tuple[Array, Array] | None = None) -> bytes:
    """Four random convolutions, each with a swish, and a dense layer if its weights and biases are given."""
    made = Net((14, 14), 1, seed=1)
    for channels, kernel, stride in ((8, (3, 3), 2), (16, (1, 1), 1), (16, (3, 3), 2), (24, (1, 1), 1)):
        linear = made.conv(channels, kernel, stride=stride)
        gate = made.add("LOGISTIC", [linear], made.shape)
        made.add("MUL", [linear, gate], made.shape)
    made.add("RESHAPE", [made.now, np.array([1, -1], np.int32)], (1, int(np.prod(made.shape))))
    if dense is not None:
        made.add("FULLY_CONNECTED", [made.now, *dense], (1, 10))
    return made.model()


def swish_net(x: Array, y: Array) -> bytes:
    """A net that knows all of these items by heart, and is sure of every answer."""
    features = answers_before_end(swish_features(), x)
    mean, spread = features.mean(0), features.std()
    known = (features - mean) / spread
    solved = np.linalg.solve(known.T @ known + 0.02 * np.eye(known.shape[1]), known.T @ (np.eye(10)[y] - 0.1))
    weights = (40 / spread * solved).T.astype(np.float32)
    return swish_features((weights, -weights @ mean))


def small_digits(split: Any, count: int) -> tuple[Array, Array]:
    """Digits of half the size, values 0-1, and their labels."""
    images = split.read(slice(0, count)).astype(np.float32) / 255
    return images.reshape(-1, 14, 2, 14, 2, 1).mean((2, 4)), split.y[:count]


def test_a_net_that_is_too_sure_keeps_no_layer_where_int8_is_as_accurate(
    digits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answers that its int8 file changes were as often wrong before, whatever the net prefers its own by."""
    (x, y), (others, labels) = small_digits(digits.train, 300), small_digits(digits.val, 180)
    model = swish_net(x, y)
    ranges = tflite_statistics(model, lambda: [x[:200]], None).ranges()

    def make(kept: FloatLayers) -> bytes:
        return with_scheme(model, MIXED, ranges, uint8=False, float_layers=kept)

    def choice() -> FloatLayers:
        return choose(model, make, Scorer(model, others, labels), x[:100], options=KeepOptions("", 4.0))

    calibrated = choice()
    assert calibrated.layers == ()
    assert calibrated.record["drop_pp"][0] <= 0
    monkeypatch.setattr("edgepress.converters.mixed_precision.choose.LEAST_FIT", 1 + len(labels))
    as_it_says = choice()
    assert len(as_it_says.layers) > 2
    assert as_it_says.record["drop_pp"][0] == calibrated.record["drop_pp"][0]
    assert as_it_says.record["expected_drop_pp"][0] > 1.5 * calibrated.record["expected_drop_pp"][0]


def test_a_graph_that_can_not_be_simulated_is_an_error(wide: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: bytes) -> Program:
        raise UnknownOperationError("ATAN2, which makes x")

    monkeypatch.setattr("edgepress.converters.mixed_precision.choose.Program", refuse)
    with pytest.raises(ConversionError, match="can't simulate it: ATAN2, which makes x"):
        wide.choose("layer1")


def test_outputs_that_are_no_scores_of_labels_need_names(wide: Case) -> None:
    judge = Scorer(wide.model, items(1, 8), labelled=False)
    with pytest.raises(ConversionError, match="not class scores"):
        choose(wide.model, wide.make, judge, items(0, 8), options=KeepOptions("", 1.0))
    assert choose(wide.model, wide.make, judge, items(0, 8), options=KeepOptions("layer1")).layers


def test_the_onnx_file_keeps_the_same_layers(wide: Case, kept: FloatLayers) -> None:
    import onnxruntime

    model = float_onnx_of(wide.model)
    nodes = float_nodes(model, kept.layers)
    assert sum(node.op_type == "Conv" for node in model.graph.node if node.name in nodes) == 2

    def agreement(choice: FloatLayers) -> float:
        made = to_onnx.with_scheme(model, SCHEMES["onnx-mixed"], lambda: [items(0)], None, float_layers=choice)
        session = onnxruntime.InferenceSession(made.SerializeToString())
        name = session.get_inputs()[0].name
        found = np.concatenate([session.run(None, {name: item[np.newaxis]})[0] for item in items(2)])
        return float((found.argmax(1) == Program(wide.model).answers(items(2)).argmax(1)).mean())

    assert agreement(NOTHING) < 0.7
    assert agreement(kept) > 0.92


def test_rounding_the_wide_layer_alone_costs_most(wide: Case) -> None:
    simulation = LayerSimulation(Program(wide.model), scales_of_tflite(Program(wide.model), wide.make(NOTHING)))
    simulation.use(items(0))
    alone = {layer.name: simulation.divergence(names) for layer, names in simulation.layers.items()}
    assert max(alone, key=lambda name: alone[name]) in (WIDE, READER)
    whole = {*simulation.names}
    (names,) = (names for layer, names in simulation.layers.items() if layer.name == WIDE)
    assert simulation.divergence(whole.difference(names)) < simulation.divergence(whole)
    assert simulation.divergence(()) == 0


def test_states_grow_and_cost_more_and_lose_less(wide: Case) -> None:
    simulation = LayerSimulation(Program(wide.model), scales_of_tflite(Program(wide.model), wide.make(NOTHING)))
    frontier = Ranking(simulation, {name: 1.0 + place for place, name in enumerate(simulation.names)})
    states = list(frontier.states(FloatSet()))
    assert states[0] == FloatSet()
    losses, costs = [frontier.loss(state) for state in states], [frontier.cost(state) for state in states]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] == sum(frontier.losses.values())
    assert costs[0] == 0 < costs[-1]
    for less, more in pairwise(states[:-1]):
        assert less.layers <= more.layers
        assert less.weights <= more.weights <= more.layers
    weighted = {number for number, layer in enumerate(frontier.layers) if layer.weights}
    assert all(weighted - state.layers for state in states)


@pytest.mark.parametrize(
    ("tensor", "name"),
    [
        ("net/re_lu/Relu;net/bn/batchnorm/add_1;net/conv/convolution1", "net/conv"),
        ("net/block/bn/batchnorm/mul_1;net/block/dw/depthwise;net/bn/batchnorm/sub", "net/block/dw"),
        ("net/act/Sigmoid", "net/act"),
        ("net/bn/batchnorm/add_1", "net/bn"),
        ("scores", "scores"),
        ("", ""),
    ],
)
def test_layers_have_the_names_of_the_source(tensor: str, name: str) -> None:
    assert layer_name(tensor) == name


def test_layers_of_a_keras_model_have_its_names(run: Any) -> None:
    from edgepress.converters.adapter import InputAdapter
    from edgepress.converters.contract.hints import Hints
    from edgepress.converters.sources.open import open_source

    source = open_source(run.model, Hints())
    assert source.facts.contract is not None
    program = Program(source.tflite(InputAdapter.of(source.facts.contract), None))
    names = [layer.name for layer in layers_of(program) if layer.weights]
    assert names == ["conv2d", "conv2d_1", "dense", "dense_1", "predictions"]


@pytest.mark.slow
def test_named_layers_of_a_keras_model_in_both_formats(run: Any, tmp_path: Path) -> None:
    said: list[str] = []
    made = convert(
        run.model, "tflite-mixed,onnx-mixed", out=tmp_path, keep_float="conv2d_1|^dense$", on_note=said.append
    )
    assert [v.error for v in made] == ["", ""]
    for variant in made:
        assert variant.path is not None
        contract = load(variant.path).contract
        assert contract is not None
        record = contract.compression["mixed"]
        assert {"conv2d_1", "dense"} <= {layer["name"] for layer in record["layers"]}
        assert dict(variant.compression) == dict(contract.compression)
        assert any(note.startswith("kept in float, ") for note in variant.notes)
        assert not any("does not support" in note for note in variant.notes)
        assert float_weights(variant.path) == 2
        assert variant.size_bytes is not None
        assert variant.size_bytes > run.variants[variant.scheme].stat().st_size


def float_weights(path: Path) -> int:
    """Number of operations with weights that are stored as float32."""
    if path.suffix == ".tflite":
        graph = Graph(path.read_bytes())
        weighted = [op for op in graph.operators if graph.kind(op) in ("CONV_2D", "FULLY_CONNECTED")]
        return sum(graph.dtype(int(op.inputs[1])) == np.float32 for op in weighted)
    import onnx

    model = onnx.load(path)
    stored = {t.name: t.data_type for t in model.graph.initializer}
    weighted = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    return sum(stored.get(node.input[1]) == onnx.TensorProto.FLOAT for node in weighted)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "tflite-int8", "keep_float": "conv"}, "for schemes of mixed precision"),
        ({"to": "tflite-mixed", "keep_float": "conv("}, "not a valid regular expression"),
        ({"to": "tflite-mixed", "max_drop": -1.0}, "0 to 100 percentage points"),
        ({"to": "tflite-mixed", "target": "integer-only"}, "does not support float files: tflite-mixed"),
    ],
)
def test_options_that_can_not_be_used(options: dict[str, Any], message: str, run: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        convert(run.model, out=tmp_path, **options)
    assert "tflite-mixed" not in schemes_for("integer-only")


def test_what_has_no_weights_is_kept_without_them() -> None:
    layer = FloatLayer("pool", ("a",))
    assert FloatLayers((layer, FloatLayer("conv", ("b",), (), "int8"))).in_bytes == (
        FloatLayer("conv", ("b",), (), "int8"),
    )
