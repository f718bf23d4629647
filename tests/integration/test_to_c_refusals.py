"""Files that the export to C refuses: what is not exactly supported, and damaged ones; each with one clear error."""

from __future__ import annotations

import contextlib
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c99_graphs import Maker, graph
from c99_matrices import Matrices
from c99_spatial import Spatial

from edgepress.converters.to_c import placement
from edgepress.converters.to_c.emission import emit
from edgepress.converters.to_c.lowering import lower
from edgepress.converters.to_c.passes import without_constant_channels
from edgepress.converters.to_c.read import KINDS, LIST
from edgepress.runtime.errors import ModelFileError


def refused(net: Any, tmp_path: Path, hint: str = "") -> str:
    path = tmp_path / "refused.tflite"
    path.write_bytes(net if isinstance(net, bytes) else net.model())
    with pytest.raises(ModelFileError) as caught:
        lower(path)
    assert str(path) in caught.value.message
    assert hint in caught.value.hint
    return caught.value.message


def constant(made: Maker, place: int, values: list[int]) -> Maker:
    """The same graph, whose last operation has other numbers for its constant input at a place."""
    index = made.net.graph.operators[-1].inputs[place]
    buffer = made.net.root.buffers[made.net.graph.tensors[index].buffer]
    buffer.data = np.array(values, np.int32).view(np.uint8)
    made.net.graph.tensors[index].shape = [len(values)]
    return made


def options(made: Maker, **values: Any) -> Maker:
    """The same graph, whose last operation has other options."""
    for name, value in values.items():
        setattr(made.net.graph.operators[-1].builtinOptions, name, value)
    return made


def test_what_is_not_exactly_supported_is_refused_with_its_reason(tmp_path: Path) -> None:
    def net(shape: tuple[int, ...] = (6, 6, 4)) -> Maker:
        return Maker("refused", shape)

    conv = net().conv(8, (3, 3))
    assert "activation has the number 4" in refused(options(net().conv(8, (3, 3)), fusedActivationFunction=4), tmp_path)
    assert "padding has the number 2" in refused(options(net().conv(8, (3, 3)), padding=2), tmp_path)
    assert "its geometry gives" in refused(options(net().conv(8, (3, 3)), strideH=2), tmp_path)
    assert "its strides are" in refused(options(net().conv(8, (3, 3)), strideH=0), tmp_path)
    conv.net.graph.tensors[conv.net.graph.operators[0].inputs[1]].quantization.zeroPoint[0] = 3
    assert "zero point other than 0" in refused(conv, tmp_path)
    assert "may reach" in refused(_large_bias(net().conv(8, (3, 3))), tmp_path)
    assert "joins" in refused((m := net()).join("ADD", m.values((5, 1, 4))), tmp_path)
    assert "joins" in refused((m := net()).join("ADD", m.values((2, 6, 6, 4))), tmp_path)
    assert "its axes are" in refused(net().mean([1, 3]), tmp_path)
    assert "its slope is -0.5" in refused(net().leaky(-0.5), tmp_path)
    assert "its slope is nan" in refused(net().leaky(float("nan")), tmp_path)
    assert "another scale than its input" in refused(net().activate("RELU6", 1.1), tmp_path)
    assert "has an activation" in refused(options(_joined(net()), fusedActivationFunction=1), tmp_path)
    assert "its axis is 4" in refused(options(_joined(net()), axis=4), tmp_path)
    assert "it joins [1, 6, 6, 4] to [1, 6, 6, 8]" in refused(options(_joined(net()), axis=2), tmp_path)
    assert "an input is constant" in refused((m := net()).concatenate([m.values((1, 6, 6, 4))], 3), tmp_path)
    assert "an input has another scale" in refused(_joined(net().conv(4, (1, 1)), other=True), tmp_path)
    wide = net().end("TANH")
    wide.net.graph.tensors[wide.at].quantization.scale[0] = 1 / 64
    assert "its output has scale" in refused(wide, tmp_path)
    batch = net().conv(8, (1, 1))
    for tensor in (batch.net.input, batch.at):
        batch.net.graph.tensors[tensor].shape[0] = 2
    assert "its batch is 2" in refused(batch, tmp_path)
    plain = net().conv(8, (1, 1))
    plain.net.graph.tensors[plain.at].quantization = None
    assert "0 scales" in refused(plain, tmp_path)
    two = net().conv(8, (1, 1))
    assert "2 outputs" in refused(_with_two_outputs(two.net), tmp_path)


def test_an_operation_that_is_not_supported_is_named_with_its_place_and_the_list_of_others(tmp_path: Path) -> None:
    made = Maker("refused", (6, 6, 4)).conv(8, (3, 3)).end("CUMSUM").end("LOGISTIC")
    said = refused(made, tmp_path, hint="replace its layer").removeprefix(f"{tmp_path}/refused.tflite: ")
    place = "operation 1 (CUMSUM)"
    assert said == f"Export to C does not support {place}: {LIST} names those that it supports."
    page, heading, _ = LIST.split('"')
    text = (Path(__file__).parents[2] / page.strip(", ")).read_text()
    listed = text.partition(f"## {heading}\n")[2].partition("Operations:")[2].partition("\n\n")[0]
    assert {*re.findall(r"[A-Z][A-Z0-9_]+", listed)} >= {*KINDS.values()}


def test_functions_whose_answers_would_not_be_the_standards_are_refused(tmp_path: Path) -> None:
    def made(kind: str, scale: float = 0.05, zero: int = 0) -> Maker:
        maker = Maker("refused", (16,))
        maker._add("QUANTIZE", [maker.at], (16,), 0.05, zero)
        maker._add(kind, [maker.at], (16,), scale, zero)
        return maker

    for kind, scale in (("EXP", 1e-6), ("SQRT", 1e-6), ("RSQRT", 0.01), ("NEG", 0.05), ("ELU", 1e-8), ("LOG", 1e-8)):
        path = tmp_path / "right.tflite"
        path.write_bytes(made(kind, scale).model())
        assert lower(path).steps[-1].kernel == "table"
    assert "its scales and zero points are" in refused(made("NEG", 0.06), tmp_path)
    assert "accepted: one scale, zero points of 0" in refused(made("NEG", zero=1), tmp_path)
    for kind, scale in (("EXP", 1e-7), ("ELU", 1e-9), ("LOG", 1e-9)):
        assert "is too small for its values" in refused(made(kind, scale), tmp_path)
    for kind in ("EXP", "SQRT", "LOG"):
        assert "a scale is 9.9" in refused(made(kind, 1e-40), tmp_path)
    for scale in (1e-9, 1e6):
        assert "its scales are 0.05" in refused(made("RSQRT", scale), tmp_path)


def test_quotients_and_squares_that_need_more_than_32_bits_are_refused(tmp_path: Path) -> None:
    def made(kind: str, scale: float) -> Maker:
        maker = Maker("refused", (16,))
        table = {"table": "SquaredDifference"} if kind == "SQUARED_DIFFERENCE" else {}
        maker._add(kind, [maker.at, maker.values((16,), 0.05)], (16,), scale, 0, **table)
        return maker

    for kind, right, wrong in (("DIV", 2.0**-21, 2.0**-22), ("SQUARED_DIFFERENCE", 1e-6, 1e-7)):
        path = tmp_path / "right.tflite"
        path.write_bytes(made(kind, right).model())
        assert lower(path).steps[-1].kernel == kind.lower()
        assert "is too small for its inputs'" in refused(made(kind, wrong), tmp_path)
    assert "its scales are 0.05" in refused(made("DIV", 1e-45), tmp_path)


def test_a_tensor_that_does_not_become_another_by_repeating_axes_is_refused(tmp_path: Path) -> None:
    def made(to: tuple[int, ...], scale: float = 0.05) -> Maker:
        maker = Maker("refused", (1, 4))
        shape = maker.net.constant(np.array([1, *to], np.int32))
        zero = int(maker.net.graph.tensors[maker.at].quantization.zeroPoint[0])
        maker._add("BROADCAST_TO", [maker.at, shape], to, scale, zero)
        return maker

    path = tmp_path / "right.tflite"
    path.write_bytes(made((3, 4)).model())
    assert lower(path).output.shape == (1, 3, 4)
    assert "is not [1, 1, 4] repeated" in refused(made((3, 8)), tmp_path)
    assert "is not [1, 1, 4] repeated" in refused(made((4,)), tmp_path)
    assert "is not [1, 1, 4] repeated" in refused(made((3, 4), 0.06), tmp_path)
    assert "and is to be [1, 2, 4]" in refused(constant(made((3, 4)), 1, [1, 2, 4]), tmp_path)


def test_sizes_and_axes_that_contradict_their_tensors_are_refused(tmp_path: Path) -> None:
    def net() -> Spatial:
        return Spatial("refused", (6, 6, 4))

    for sizes in ([12, 11], [0, 12], [-12, -12], [2**31 - 1, 12], [12]):
        assert "its sizes give" in refused(constant(net().resize(12, 12), 1, sizes), tmp_path)
    assert "accepted: up to 32767" in refused(Spatial("wide", (1, 3, 1)).resize(1, 32768), tmp_path)
    for axes in ([4], [-5], [2**31 - 1], [-(2**31)]):
        assert "its axes are" in refused(constant(net().maximum([1, 2]), 1, axes), tmp_path)
    assert "does not fit axes 1 to 1" in refused(constant(net().maximum([1, 2]), 1, [1]), tmp_path)
    for made in (net().resize(12, 12), net().maximum([1])):
        made.net.graph.tensors[made.at].quantization.scale[0] = 0.06
        assert "another scale than its input" in refused(made, tmp_path)
    up = net().transposed(3, (3, 3), (2, 2))
    assert "is to have another shape" in refused(constant(up, 0, [1, 12, 11, 3]), tmp_path)
    for stride in (0, -1, 2**31 - 1):
        assert "its strides are" in refused(options(net().transposed(3, (3, 3), (2, 2)), strideH=stride), tmp_path)
    assert "its geometry gives" in refused(options(net().transposed(3, (3, 3), (2, 2)), strideH=3), tmp_path)
    assert "padding has the number 2" in refused(options(net().transposed(3, (3, 3)), padding=2), tmp_path)
    assert "activation has the number 4" in refused(
        options(net().transposed(3, (3, 3)), fusedActivationFunction=4), tmp_path
    )
    short = net().transposed(3, (3, 3))
    short.net.graph.operators[-1].inputs = short.net.graph.operators[-1].inputs[:2]
    assert "it has 2 inputs; accepted: 3 or 4" in refused(short, tmp_path)


def test_matrices_that_do_not_fit_are_refused_with_their_reason(tmp_path: Path) -> None:
    def product(**values: Any) -> Maker:
        made = Matrices("refused", (4, 6))
        return options(made.times(made.at, turned=(False, True)), **values)

    path = tmp_path / "right.tflite"
    path.write_bytes(product().model())
    assert lower(path).macs == 4 * 4 * 6
    assert "it multiplies [1, 4, 6] by [1, 4, 6] to [1, 4, 4]" in refused(product(adjY=False), tmp_path)
    assert "it multiplies" in refused(product(adjX=True), tmp_path)
    one = product()
    one.net.graph.operators[-1].inputs[1] = one.values((1, 4, 6))
    assert "does not multiply two activations" in refused(one, tmp_path)
    coarse = product()
    coarse.net.graph.tensors[coarse.at].quantization.scale[0] = 1e-9
    assert "may need more than 32 bits" in refused(coarse, tmp_path)
    turned = Matrices("refused", (4, 6)).transpose(0, 2, 1)
    turned.net.graph.tensors[turned.at].quantization.scale[0] = 0.06
    assert "in the order [0, 2, 1]" in refused(turned, tmp_path)
    assert "its order of axes is [0, 2, 2]" in refused(
        constant(Matrices("refused", (4, 6)).transpose(0, 2, 1), 1, [0, 2, 2]), tmp_path
    )
    larger = Matrices("refused", (4, 6))
    larger._add("MAXIMUM", [larger.at, larger.at], (4, 6), 0.06, larger.zero_point(), table="MaximumMinimum")
    assert "an input has another scale" in refused(larger, tmp_path)


def test_a_cut_that_keeps_nothing_is_refused(tmp_path: Path) -> None:
    """Two negative lengths would make up a tensor of the right size."""
    made = Matrices("refused", (4, 6, 2)).cut((0, 2), (0, 3), (0, 2), strided=True)
    assert "keeps nothing" in refused(constant(constant(made, 1, [0, 4, 6, 0]), 2, [1, 2, 3, 2]), tmp_path)


def test_bilinear_resizing_that_tflm_refuses_or_reads_too_far_is_refused(tmp_path: Path) -> None:
    image = Spatial("refused", (6, 6, 4)).resize(9, 9, corners=True, centers=True, bilinear=True)
    assert "of which TFLM accepts one" in refused(image, tmp_path)
    wide = Spatial("refused", (1, 2, 1)).resize(1, 3000, bilinear=True)
    assert "too many for TFLM's rounding" in refused(wide, tmp_path)


def _joined(made: Maker, *, other: bool = False) -> Maker:
    """A tensor beside itself, or beside the input."""
    return made.concatenate([made.net.input if other else made.at], 3)


SCALES = [1e-45, 1e-38, 1e-20, 1e-6, 0.05, 1e6, 1e20, 3e38]


@pytest.mark.parametrize(
    "kind",
    ["ABS", "RELU", "RELU6", "LEAKY_RELU", "ELU", "HARD_SWISH", "EXP", "GELU", "LOG", "NEG", "RSQRT", "SQRT"],
)
def test_extreme_scales_are_refused_or_answered_but_never_crash(kind: str, tmp_path: Path) -> None:
    answered = 0
    for before in SCALES:
        for after in SCALES:
            made = Maker(f"{kind} {before} {after}", (4, 4))
            given = {"approximate": after > before} if kind == "GELU" else {}
            made = made.leaky(0.1) if kind == "LEAKY_RELU" else made.activate(kind, **given)
            for tensor, value in ((made.net.input, before), (made.at, before if kind in ("RELU6", "NEG") else after)):
                made.net.graph.tensors[tensor].quantization.scale[0] = value
                if kind == "NEG":
                    made.net.graph.tensors[tensor].quantization.zeroPoint[0] = 0
            path = tmp_path / "extreme.tflite"
            path.write_bytes(made.model())
            with contextlib.suppress(ModelFileError):
                answers = lower(path).answers(np.arange(-128, 128, dtype=np.int8).reshape(16, 16))
                assert answers.dtype == np.int8
                answered += 1
    assert answered


def test_a_refused_operation_may_be_in_a_file_for_integers_too(tmp_path: Path) -> None:
    grouped = Maker("grouped", (6, 6, 4)).conv(8, (3, 3))
    weights = grouped.net.constant(np.zeros((8, 3, 3, 3), np.int8), [0.01])
    grouped.net.graph.operators[-1].inputs[1] = weights
    assert "(groups?)" in refused(grouped, tmp_path, "export it with --to tflm")


def _with_two_outputs(net: Any) -> bytes:
    from edgepress.converters.to_tflite import flatbuffer as flat

    net.graph.inputs, net.graph.outputs = [net.input], [net.graph.operators[-1].outputs[0]] * 2
    return flat.write(net.root)


def _large_bias(made: Maker) -> Maker:
    net = made.net
    index = net.graph.tensors[net.graph.operators[-1].inputs[2]].buffer
    net.root.buffers[index].data = np.frombuffer(np.full(8, 2**31 - 1, np.int32).tobytes(), np.uint8)
    return made


def damaged(data: bytes, chance: random.Random) -> bytes:
    """The file with some bytes changed, cut, or exchanged."""
    copy = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 5])):
        at = chance.randrange(len(copy))
        match chance.randrange(4):
            case 0:
                copy[at] = chance.randrange(256)
            case 1:
                copy[at : at + 4] = chance.randrange(1 << 32).to_bytes(4, "little")
            case 2:
                copy[at : at + 4] = chance.choice([0, 1, 2, 255, 2**31 - 1, 2**32 - 1]).to_bytes(4, "little")
            case 3:
                copy[at] ^= 1 << chance.randrange(8)
    return bytes(copy[: chance.randrange(len(copy))] if chance.random() < 0.05 else copy)


@pytest.mark.parametrize("count", [150, pytest.param(1000, marks=pytest.mark.slow)])
def test_damaged_files_are_refused_or_answered_but_never_crash(count: int, tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    sources = [graph(name) for name in ("chain-0", "conv-1", "mean", "add-channels", "softmax", "pad", "depthwise-0")]
    sources += [
        graph(name) for name in ("resized-0", "maximum-4", "transposed-0", "decoder-0", "bilinear-3", "bound-1")
    ]
    sources += [graph(name) for name in ("turned-2", "cut-1", "product-4", "attention-0", "lstm-1", "lstm-stacked-0")]
    path, errors = tmp_path / "damaged.tflite", 0
    for number in range(count):
        path.write_bytes(damaged(chance.choice(sources), chance))
        try:
            program = without_constant_channels(lower(path))
            emit(program, placement.place(program, tries=0))
        except ModelFileError as e:
            errors += e.message != ""
        except Exception as e:
            raise AssertionError(f"seed {seed}, file {number}") from e
    assert errors > count / 10


def test_a_file_of_several_inputs_is_not_to_be_converted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The advice was to make the same file again, which has as many inputs."""
    made = Maker("refused", (6, 6, 4)).conv(8, (3, 3))
    graph_type = type(made.net.graph)
    plain = graph_type.__setattr__

    def with_another_input(self: Any, name: str, value: Any) -> None:
        plain(self, name, [*value, made.net.tensor((1, 4), 0.1)] if name == "inputs" else value)

    monkeypatch.setattr(graph_type, "__setattr__", with_another_input, raising=False)
    content = made.net.model()
    monkeypatch.undo()
    assert "2 inputs and 1 outputs" in refused(content, tmp_path, hint="No conversion changes that")
