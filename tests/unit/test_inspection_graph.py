"""What follows from a graph and from tables alone: memory, parameters, delegation, oldest releases."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.converters.inspection import engines
from edgepress.converters.inspection import graph as g
from edgepress.converters.inspection.describe import describe
from edgepress.converters.inspection.versions import (
    Use,
    oldest_onnxruntime,
    oldest_release,
    on_pypi,
    operations,
    required_version,
)
from edgepress.converters.numeric import macs


def value(n: int | None, dtype: str = "float32", **flags: bool) -> g.Value:
    return g.Value(None if n is None else (n,), dtype, **flags)


def graph(steps: str, sizes: dict[str, g.Value], *, inputs: str = "i", outputs: str = "o") -> g.InspectedGraph:
    """A graph from "a=i+w b=a": one step a word, made tensor = read tensors."""
    words = [word.partition("=") for word in steps.split()]
    made = tuple(g.InspectedStep(f"op {m}", m, tuple(read.split("+")), (m,)) for m, _, read in words)
    return g.InspectedGraph(made, sizes, tuple(inputs), tuple(outputs))


def test_peak_of_a_chain_is_its_widest_step() -> None:
    sizes = {"i": value(100), "a": value(50), "b": value(80), "o": value(10)}
    peak = g.peak_memory(graph("a=i b=a o=b", sizes))
    assert (peak.size_bytes, peak.step and peak.step.name) == (600, "a")


def test_a_residual_lives_until_it_is_added() -> None:
    sizes = {"i": value(1), "a": value(100), "b": value(100), "o": value(100)}
    assert g.peak_memory(graph("a=i b=a o=b+a", sizes)).size_bytes == 1200


def test_what_is_known_beforehand_is_no_activation_but_unpacked_weights() -> None:
    sizes = {"i": value(4), "w": value(50, "float16", constant=True), "f": value(50), "o": value(2)}
    found = graph("f=w o=i+f", sizes)
    assert g.peak_memory(found).size_bytes == 24
    assert g.unpacked_bytes(found) == 200
    assert g.parameters(found) == [0, 50]  # counted where they are used


def test_state_lives_throughout() -> None:
    sizes = {"i": value(1), "s": value(10, variable=True), "a": value(100), "o": value(1)}
    assert g.peak_memory(graph("a=i o=a+s", sizes)).size_bytes == 4 * (100 + 1 + 10)


def test_an_unknown_shape_leaves_the_peak_unknown() -> None:
    peak = g.peak_memory(graph("a=i o=a", {"i": value(1), "a": value(None), "o": value(1)}))
    assert (peak.size_bytes, peak.unknown) == (None, ("a",))


@given(st.data())
def test_the_peak_holds_each_step_and_is_no_more_than_everything(data: Any) -> None:
    names = [chr(ord("a") + i) for i in range(data.draw(st.integers(1, 8)))]
    sizes = {name: value(data.draw(st.integers(0, 1000))) for name in ["i", *names]}
    words = []
    for place, name in enumerate(names):
        read = data.draw(st.sets(st.sampled_from(["i", *names[:place]]), min_size=1))
        words.append(f"{name}={'+'.join(sorted(read))}")
    found = graph(" ".join(words), sizes, outputs=names[-1])
    peak = g.peak_memory(found).size_bytes
    assert peak is not None
    need = [sum(4 * sizes[n].shape[0] for n in {*s.inputs, *s.outputs}) for s in found.steps]  # type: ignore[index]
    assert max(need) <= peak <= 4 * sum(v.shape[0] for v in sizes.values())  # type: ignore[index]


@pytest.mark.parametrize(
    ("dtype", "bits"),
    [("float32", 32), ("uint8", 8), ("int64", 64), ("int4", 4), ("bool", 8), ("bfloat16", 16), ("string", 0)],
)
def test_bits(dtype: str, bits: int) -> None:
    assert g.bits_of(dtype) == bits


def test_three_int4_take_two_bytes() -> None:
    assert value(3, "int4").size_bytes == 2


@pytest.mark.parametrize(
    ("table", "operation", "shapes", "made", "count"),
    [
        (macs.TFLITE, "CONV_2D", [(1, 28, 28, 1), (6, 5, 5, 1)], (1, 28, 28, 6), 28 * 28 * 6 * 25),
        (macs.TFLITE, "CONV_2D", [(1, 8, 8, 4), (6, 3, 3, 2)], (1, 8, 8, 6), 8 * 8 * 6 * 18),  # two groups
        (macs.TFLITE, "DEPTHWISE_CONV_2D", [(1, 8, 8, 4), (1, 3, 3, 8)], (1, 4, 4, 8), 4 * 4 * 8 * 9),
        (macs.TFLITE, "FULLY_CONNECTED", [(1, 400), (120, 400)], (1, 120), 48000),
        (macs.TFLITE, "BATCH_MATMUL", [(1, 2, 5, 7), (1, 2, 7, 3)], (1, 2, 5, 3), 2 * 5 * 7 * 3),
        (macs.TFLITE, "TRANSPOSE_CONV", [(4,), (6, 3, 3, 2), (1, 8, 8, 2)], (1, 16, 16, 6), 8 * 8 * 2 * 9 * 6),
        (macs.ONNX, "Conv", [(1, 4, 8, 8), (6, 2, 3, 3)], (1, 6, 8, 8), 8 * 8 * 6 * 18),
        (macs.ONNX, "Gemm", [(1, 400), (400, 120)], (1, 120), 48000),
        (macs.TENSORFLOW, "DepthwiseConv2dNative", [(1, 8, 8, 4), (3, 3, 4, 2)], (1, 8, 8, 8), 8 * 8 * 8 * 9),
        (macs.TFLITE, "ADD", [(1, 8), (1, 8)], (1, 8), 0),
        (macs.TFLITE, "LSTM", [(1, 4), (1, 6), (24, 10), (24,), (1, 6)], (1, 6), 240),  # the basic kernel
        (macs.TFLITE, "RNN", [(1, 4), (6, 4), (6, 6), (6,), (1, 6)], (1, 6), 60),
        (macs.TFLITE, "SVDF", [(1, 4), (8, 4), (8, 5), (8,), (1, 40)], (1, 8), 72),
        (macs.ONNX, "GRU", [(10, 1, 4), (1, 18, 4), (1, 18, 6), (1, 36), (1,), (1, 1, 6)], (10, 1, 1, 6), 10 * 180),
        (macs.ONNX, "DynamicQuantizeLSTM", [(10, 1, 4), (1, 4, 24), (1, 6, 24), (1, 48)], (10, 1, 1, 6), 2400),
    ],
)
def test_multiply_accumulates(table: Any, operation: str, shapes: list[Any], made: Any, count: int) -> None:
    assert macs.count(table, operation, shapes, made) == count


def test_an_lstm_multiplies_its_matrices_at_each_step() -> None:
    shapes = [(1, 28, 10), (20, 10), (20, 20)]
    assert macs.count(macs.TFLITE, "UNIDIRECTIONAL_SEQUENCE_LSTM", shapes, None) == 28 * 20 * 30


def test_an_lstm_counts_no_biases_peepholes_and_states() -> None:
    inputs = [(10, 1, 4), (1, 24, 4), (1, 24, 6), (1, 48), macs.LEFT_OUT, (1, 1, 6), (1, 1, 6), (1, 18)]
    assert macs.count(macs.ONNX, "LSTM", inputs, None) == 10 * 24 * 10
    four = [(1, 10, 4), *[(6, 4)] * 4, *[(6, 6)] * 4, *[(1, 6)] * 7]
    projected = [*four, (3, 6), (3,), (1, 3), (1, 6)]
    assert macs.count(macs.TFLITE, "UNIDIRECTIONAL_SEQUENCE_LSTM", four, None) == 10 * (24 * 10)
    assert macs.count(macs.TFLITE, "UNIDIRECTIONAL_SEQUENCE_LSTM", projected, None) == 10 * (24 * 10 + 18)
    without = [macs.LEFT_OUT if place == 1 else shape for place, shape in enumerate(four)]
    assert macs.count(macs.TFLITE, "UNIDIRECTIONAL_SEQUENCE_LSTM", without, None) == 10 * (24 * 10 - 24)
    both = [*projected[:18], *projected[1:18], *[(1, 6)] * 4]
    assert macs.count(macs.TFLITE, "BIDIRECTIONAL_SEQUENCE_LSTM", both, None) == 20 * (24 * 10 + 18)


def test_a_recurrent_layer_with_matrices_of_unknown_shape_is_not_counted() -> None:
    assert macs.count(macs.ONNX, "LSTM", [(10, 1, 4), (1, 24, 4), None], None) is None
    assert macs.count(macs.ONNX, "LSTM", [(10, 1, 4)], None) is None


def test_a_transposed_factor_is_summed_over_its_other_axis() -> None:
    left = macs.transpose_shape((2, 7, 5))
    assert macs.count(macs.TENSORFLOW, "BatchMatMulV2", [left, (2, 7, 3)], (2, 5, 3)) == 30 * 7
    assert macs.transpose_shape(None) is None


def test_parameters_of_a_step_that_is_joined_to_nothing() -> None:
    step = g.InspectedStep("Dense", "dense", ("w",), ())
    assert g.parameters(g.InspectedGraph((step,), {"w": value(12, constant=True)}, (), ())) == [12]


@pytest.mark.parametrize(
    ("source", "sink", "items"),
    [((8, 4), (8, 3), 8), ((8, 4), None, 8), ((1, 4), (1, 3), 1), ((10, 1, 4), (1, 3), 1), ((8,), (8,), 1)],
)
def test_a_fixed_batch_is_what_inputs_and_outputs_share(source: Any, sink: Any, items: int) -> None:
    values = {"i": g.Value(source, "float32"), "o": g.Value(sink, "float32")}
    assert g.fixed_batch(g.InspectedGraph((), values, ("i",), ("o",))) == items


def test_figures_of_a_fixed_batch_are_for_one_item_or_not_given() -> None:
    values = {"i": g.Value((8, 4), "float32"), "o": g.Value((8, 3), "float32")}
    steps = (
        g.InspectedStep("MatMul", "a", ("i",), ("o",), macs=96),
        g.InspectedStep("MatMul", "b", ("i",), ("o",), macs=97),
    )
    found = describe(g.InspectedGraph(steps, values, ("i",), ("o",)), conversions=(), items=8)
    assert [n.macs for n in found["nodes"]] == [12, None]
    assert found["peak_activation_bytes"] is None
    assert "224 bytes" in found["notes"][0]


def test_what_can_not_be_counted_is_none() -> None:
    assert macs.count(macs.TFLITE, "CONV_2D", [None, None], None) is None
    assert macs.count(macs.ONNX, "Einsum", [], None) is None


def test_delegated_operations_are_those_between_a_parts_inputs_and_outputs() -> None:
    def op(name: str, inputs: list[int], outputs: list[int]) -> dict[str, Any]:
        return {"op_name": name, "inputs": inputs, "outputs": outputs}

    operations = [
        op("QUANTIZE", [0], [1]),
        op("CONV_2D", [1, 10, 11], [2]),
        op("CONV_2D", [2, 12, 13], [3]),
        op("MEAN", [3], [4]),
        op("FULLY_CONNECTED", [4, 14, 15], [5]),
        op(engines.DELEGATE, [1, 10, 11, 12, 13], [3]),
        op(engines.DELEGATE, [4, 14, 15], [5]),
    ]
    assert engines.delegated_places(operations) == {1, 2, 4}
    assert engines.delegated_places(operations[:5]) == set()


@pytest.mark.parametrize(
    ("use", "release"),
    [
        (Use("CONV_2D", 1, "float32", "float32", "float32"), (1, 5)),
        (Use("CONV_2D", 1, "int8", "int8", "int8", True), (1, 14)),  # quantizers leave it at version 1
        (Use("CONV_2D", 1, "float32", "int8", "float32", True), (2, 4)),
        (Use("FULLY_CONNECTED", 1, "float32", "int8", "float32"), (1, 14)),
        (Use("FULLY_CONNECTED", 1, "float32", "int8", "float32", True), (2, 17)),  # wrong before, without an error
        (Use("FULLY_CONNECTED", 1, "int8", "int8", "int8"), (1, 14)),
        (Use("FULLY_CONNECTED", 1, "int8", "int8", "int8", True), (2, 12)),
        (Use("FULLY_CONNECTED", 12, "float32", "float32", "float32"), (2, 17)),  # the version alone refuses it
        (Use("DEQUANTIZE", 1, "float16", "", "float32"), (1, 15)),
        (Use("DEQUANTIZE", 1, "int8", "", "float32", True), (2, 7)),
        (Use("CAST", 1, "uint8", "", "float32"), (1, 5)),
        (Use("CAST", 1, "float32", "", "int8"), (2, 8)),
        (Use("CONV_2D", 99), None),
        (Use("CUSTOM:mine", 1), None),
        (Use("BROADCAST_TO", 1), None),  # rolled back before a release
    ],
)
def test_oldest_release(use: Use, release: Any) -> None:
    assert oldest_release(use) == release


def test_the_table_agrees_with_itself() -> None:
    for operation, row in operations().items():
        assert row.keys() <= {"releases", "data", "weights", "output"}
        for field in ("data", "weights", "output"):
            for types, version in row.get(field, {}).items():
                assert 1 <= version <= len(row["releases"].split()), (operation, types)


def test_releases_on_pypi() -> None:
    assert on_pypi((1, 5)) == {"tflite_runtime": "2.7", "ai_edge_litert": "1.0.0"}
    assert on_pypi((2, 12)) == {"tflite_runtime": "2.12", "ai_edge_litert": "1.0.0"}
    assert on_pypi((2, 17)) == {"tflite_runtime": None, "ai_edge_litert": "1.0.0"}
    assert on_pypi((2, 21)) == {"tflite_runtime": None, "ai_edge_litert": "2.1.3"}
    assert on_pypi((9, 9)) == {"tflite_runtime": None, "ai_edge_litert": None}


def test_the_reason_names_types_or_the_version() -> None:
    assert str(Use("FULLY_CONNECTED", 1, "float32", "int8", "float32", True)).endswith("float32 x int8 per channel")
    assert str(Use("FULLY_CONNECTED", 12, "float32", "float32", "float32")) == "FULLY_CONNECTED version 12"
    assert required_version(Use("ADD", 4, "int8")) == 4


@pytest.mark.parametrize(
    ("opset", "ir", "release"),
    [(7, 3, "1.0"), (17, 8, "1.12"), (17, 10, "1.18"), (22, 10, "1.21"), (24, 10, "1.24"), (99, 8, None)],
)
def test_oldest_onnxruntime(opset: int, ir: int, release: str | None) -> None:
    assert oldest_onnxruntime(opset, ir) == release
