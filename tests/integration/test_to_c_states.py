"""Variables, slices and streams in C: rare graphs and damaged files, against LiteRT's reference kernels."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import c99_graphs
import numpy as np
import numpy.typing as npt
import pytest
from building_c import Library, missing
from c99_graphs import Maker
from c99_streams import Stream, sliced, split, stream, stream_of_values

from edgepress.converters.errors import ConversionError
from edgepress.converters.to_c import placement
from edgepress.converters.to_c.emission import emit
from edgepress.converters.to_c.lowering import Program, lower
from edgepress.converters.to_c.passes import without_constant_channels
from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.converters.to_tflite.streaming import to_streaming
from edgepress.runtime.errors import EdgepressError, ModelFileError
from edgepress.toolkit.shipping.exporting.esphome import one_probability

assert c99_graphs
SANITIZED = ("-fsanitize=undefined", "-fno-sanitize-recover=all", "-static-libubsan")
Bytes = npt.NDArray[np.int8]


def lowered(model: bytes, folder: Path) -> Program:
    path = folder / "drawn.tflite"
    path.write_bytes(model)
    return lower(path)


def reference(model: bytes, items: Bytes) -> Bytes:
    """What LiteRT's reference kernels answer, one item after the other."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(model_content=model, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]
    rows = []
    for item in items:
        interpreter.set_tensor(source["index"], item.reshape(source["shape"]))
        interpreter.invoke()
        rows.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).ravel().copy())
    return np.array(rows)


def items_of(program: Program, count: int = 6) -> Bytes:
    return np.random.default_rng(0).integers(-128, 128, (count, program.input.size)).astype(np.int8)


def sliced_by(seed: int) -> bytes:
    """A STRIDED_SLICE along one axis whose numbers are negative, beyond the tensor, masked or shrunk."""
    draw = random.Random(seed)
    m = Maker(f"strided{seed}", (5, 4, 3))
    m.conv(6, (1, 1))
    shape = [1, *m.shape]
    axis = draw.choice([1, 2, 3])
    begins = [draw.choice([0, -shape[each], -99]) for each in range(4)]
    ends = [draw.choice([shape[each], 99]) for each in range(4)]
    masks = {"beginMask": 0, "endMask": 0, "shrinkAxisMask": 0}
    for each in range(4):
        if each != axis and draw.random() < 0.3:
            begins[each], ends[each] = draw.randrange(-9, 9), draw.randrange(-9, 9)
            masks["beginMask"] |= 1 << each
            masks["endMask"] |= 1 << each
    size = shape[axis]
    first = draw.randrange(size)
    last = draw.randrange(first + 1, size + 1)
    shape[axis] = last - first
    begins[axis] = draw.choice([first, first - size])
    ends[axis] = last if last == size else draw.choice([last, last - size])
    if last - first == 1 and draw.random() < 0.5:
        masks["shrinkAxisMask"] = 1 << axis
        ends[axis] = draw.randrange(-9, 9)
        del shape[axis]
    numbers = [m.net.constant(np.array(values, np.int32)) for values in (begins, ends, [1] * 4)]
    zero = int(m.net.graph.tensors[m.at].quantization.zeroPoint[0])
    m._add("STRIDED_SLICE", [m.at, *numbers], tuple(shape[1:]), m.scale, zero, ellipsisMask=0, newAxisMask=0, **masks)
    return m.model()


@pytest.mark.parametrize("number", range(30))
def test_parts_by_negative_and_masked_numbers_are_those_of_litert(number: int, tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    model = sliced_by(seed)
    program = lowered(model, tmp_path)
    items = items_of(program)
    assert (program.answers(items) == reference(model, items)).all(), seed


def states_in_order(seed: int) -> bytes:
    """Several variables, read before and after they are written, each by the input, a sum or a convolution."""
    draw = random.Random(seed)
    m = Stream(f"order{seed}", (3, 2, 4))
    shape = m.shape
    variables = [m.variable(shape, first=draw.choice(["zero", "drawn"]))[0] for _ in range(3)]
    zero = int(m.net.graph.tensors[m.at].quantization.zeroPoint[0])
    values = [m.at]
    unwritten = list(variables)
    for _ in range(draw.randint(4, 9)):
        way = draw.choice(["read", "add", "conv", "assign"])
        if way == "read":
            values.append(m.read(draw.choice(variables), shape))
        elif way == "assign" and unwritten:
            m.assign(unwritten.pop(), draw.choice(values))
        else:
            m.at, m.shape, m.scale = draw.choice(values), shape, 0.05
            if way == "conv":
                m.conv(4, (1, 1), activation=1)
            else:
                m.join("ADD", draw.choice(values))
            m.net.graph.tensors[m.at].quantization = flat.quantization([0.05], [zero])
            m.scale = 0.05
            values.append(m.at)
    m.at, m.shape, m.scale = draw.choice(values), shape, 0.05
    return m.conv(2, (1, 1)).model()


@pytest.mark.parametrize("number", range(24))
def test_variables_in_any_order_hold_what_litert_holds(number: int, tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    model = states_in_order(seed)
    try:
        program = lowered(model, tmp_path)
    except ModelFileError as e:
        if "old value of a variable" not in e.message:
            raise AssertionError(seed) from e
        return
    items = items_of(program)
    expected = reference(model, items)
    assert (program.answers(items) == expected).all(), seed
    fewer = without_constant_channels(program)
    assert (fewer.answers(items) == expected).all(), seed
    if not missing("gcc"):
        library = Library(fewer, placement.place(fewer, tries=20), tmp_path / "c", *SANITIZED)
        assert (library.answers(items) == expected).all(), seed


def test_an_output_that_is_the_old_value_of_a_variable_is_refused(tmp_path: Path) -> None:
    m = Stream("old", (4,))
    handle, _ = m.variable((4,))
    before = m.read(handle, (4,))
    m.assign(handle, m.at)
    m.dense(4).at = before
    with pytest.raises(ModelFileError, match="its output is the old value of a variable"):
        lowered(m.model(), tmp_path)


def test_a_variable_that_nothing_uses_takes_no_place_of_another_tensor(tmp_path: Path) -> None:
    m = Stream("unused", (4, 2, 2))
    m.variable((2,))
    m.conv(2, (1, 1))
    model = m.concatenate([m.at, m.at], 3).model()
    program = lowered(model, tmp_path)
    items = items_of(program)
    assert (program.answers(items) == reference(model, items)).all()
    assert placement.place(program, tries=5).arena >= program.output.size


def test_a_convolution_that_writes_a_variable_itself_keeps_the_channels_it_needs(tmp_path: Path) -> None:
    m = Stream("direct", (5, 3, 4))
    zero = int(m.net.graph.tensors[m.at].quantization.zeroPoint[0])
    handle, _ = m.variable(m.shape)
    m.join("ADD", m.read(handle, m.shape)).conv(8, (1, 1), activation=1).conv(4, (1, 1))
    m.net.graph.tensors[m.at].quantization = flat.quantization([0.05], [zero])
    m.assign(handle, m.at)
    model = m.model()
    program = lowered(model, tmp_path)
    items = items_of(program)
    assert (without_constant_channels(program).answers(items) == reference(model, items)).all()


def windows() -> Maker:
    return Maker("windows", (12, 1, 4)).conv(4, (3, 1), same=False)


def excited() -> bytes:
    """Squeeze and excitation: each row times what all rows of the window are."""
    m = windows()
    rows, shape = m.at, m.shape
    m.mean([1, 2])
    zero = int(m.net.graph.tensors[m.at].quantization.zeroPoint[0])
    m._add("RESHAPE", [m.at, m.net.constant(np.array([1, 1, 1, 4], np.int32))], (1, 1, 4), m.scale, zero)
    of_window = m.at
    m.at, m.shape = rows, shape
    return m.join("MUL", of_window).mean([1, 2]).dense(2).model()


def test_what_depends_on_the_whole_window_is_no_stream() -> None:
    with pytest.raises(ConversionError, match="MUL can't be computed as a stream: its input 1 is computed from all"):
        to_streaming(excited(), 1)
    with pytest.raises(ConversionError, match="answers with 10 rows a window"):
        to_streaming(windows().model(), 1)


@pytest.mark.parametrize("kind", ["CONV_2D", "MEAN"])
def test_rows_in_the_place_of_a_parameter_are_refused(kind: str) -> None:
    root, graph = flat.read(windows().mean([1, 2]).dense(2).model())
    operator = next(each for each in graph.operators if flat.kind(root, each) == kind)
    rows, parameter, *rest = operator.inputs
    operator.inputs = [parameter, rows, *rest]
    with pytest.raises(ConversionError, match=rf"{kind} can't be computed as a stream: its input 1, a parameter,"):
        to_streaming(flat.write(root), 1)


def test_an_input_that_nothing_reads_has_a_shape_too(tmp_path: Path) -> None:
    root, graph = flat.read(windows().model())
    graph.inputs = [flat.tensor(graph, [1, 12, -1, 4], "unused", type=flat.TYPES[np.dtype(np.int8)])]
    with pytest.raises(ModelFileError, match=r"this file: a tensor has the shape \[1, 12, -1, 4\]"):
        lowered(flat.write(root), tmp_path)


def without_zero_points(model: bytes) -> bytes:
    root, graph = flat.read(model)
    for tensor in graph.tensors:
        if tensor.quantization is not None and len(tensor.quantization.scale) == 1:
            tensor.quantization.zeroPoint = None
    return flat.write(root)


def test_zero_points_that_are_left_out_are_zero(tmp_path: Path) -> None:
    model = without_zero_points(windows().mean([1, 2]).dense(2).model())
    program = lowered(to_streaming(model, 1), tmp_path)
    assert program.input.zero_point == 0
    m = Maker("bytes", (12, 1, 4), np.uint8)
    m._add("QUANTIZE", [m.at], m.shape, m.scale, 0)
    m.conv(4, (3, 1), same=False).mean([1, 2]).dense(2).quantize(0.1).end("SOFTMAX", beta=1.0)
    _, graph = flat.read(one_probability(without_zero_points(m.model()), 1))
    assert graph.tensors[graph.outputs[0]].type == flat.UINT8


def test_a_sum_larger_than_both_operands_is_refused(tmp_path: Path) -> None:
    m = Maker("sum", (2, 3))
    m.join("ADD", m.at)
    m.net.graph.tensors[m.at].shape = [7, 2, 3]
    with pytest.raises(ModelFileError, match=r"joins \[1, 2, 3\] and \[1, 2, 3\] to \[7, 2, 3\]"):
        lowered(m.dense(2).model(), tmp_path)


FILES = (stream("stream-1"), stream_of_values("v1"), split("split-2"), sliced("sliced-1"), excited(), windows().model())


def damaged(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice([1, 2, 4])):
        at = draw.randrange(len(changed)) // 4 * 4
        number: int = draw.choice([0, 1, 2, 3, 5, -1, 2**31 - 1, -(2**31), 65536, draw.randrange(40)])
        changed[at : at + 4] = number.to_bytes(4, "little", signed=True)
    return bytes(changed)


def test_damaged_files_of_streams_are_one_error(tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    draw = random.Random(seed)
    accepted = 0
    for number in range(600):
        model = damaged(draw.choice(FILES), draw)
        try:
            program = lowered(model, tmp_path)
            accepted += 1
            emit(program, placement.place(program, tries=2))
            made: Any = to_streaming(model, 2)
            lowered(made, tmp_path)
        except EdgepressError:
            continue
        except Exception as e:
            raise AssertionError(f"seed {seed}, file {number}") from e
    assert accepted > 20
