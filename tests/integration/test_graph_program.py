"""A program and its file: constants that are replaced, batches, and what is read of a graph."""

from __future__ import annotations

import numpy as np
import pytest
from int8_graphs import Net
from rewriting import Net as Windows

from edgepress.converters.graph import program as programs
from edgepress.converters.graph.program import Program, UnknownOperationError, litert_answers


def net() -> Windows:
    made = Windows((6, 8), 3)
    made.conv(4, (3, 3), act=1)
    made.depthwise((3, 3), stride=2, act=3)
    made.add("MEAN", [made.now, np.array([1, 2], np.int32)], (1, 4))
    made.add("FULLY_CONNECTED", [made.now, made.random.normal(size=(5, 4)).astype(np.float32)], (1, 5))
    return made


def items(count: int = 5) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(count, 6, 8, 3)).astype(np.float32)


def test_a_file_with_other_constants_answers_as_the_program_does_with_them():
    model = net().model()
    program = Program(model)
    changed = {name: values * 1.5 for name, values in program.constants.items() if values.dtype == np.float32}
    file = program.with_constants(changed)
    answers = litert_answers(file, items()).reshape(5, -1)
    assert np.abs(answers - litert_answers(model, items()).reshape(5, -1)).max() > 0.1
    assert np.allclose(program.answers(items(), constants=changed), answers, rtol=1e-5, atol=1e-5)
    again = Program(file).with_constants({name: program.constants[name] for name in changed})
    assert np.array_equal(litert_answers(again, items()), litert_answers(model, items()))
    assert [(s.kind, s.inputs, s.outputs) for s in Program(again).steps] == [
        (s.kind, s.inputs, s.outputs) for s in program.steps
    ]


def test_constants_that_shared_a_buffer_are_changed_one_by_one():
    made = Net((1, 4), scale=0, dtype=np.float32)
    first = made.constant(np.arange(4, dtype=np.float32))
    second = made.tensor((4,), dtype=np.float32)
    made.graph.tensors[second].buffer = made.graph.tensors[first].buffer
    sum_ = made.op("ADD", [made.input, first], (1, 4), scale=0, dtype=np.float32)
    made.op("ADD", [sum_, second], (1, 4), scale=0, dtype=np.float32)
    program = Program(made.model())
    changed = Program(program.with_constants({"t1": np.zeros(4, np.float32)}))
    assert changed.constants["t1"].tolist() == [0, 0, 0, 0]
    assert changed.constants["t2"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("values", [np.zeros(3, np.float32), np.zeros((5, 4), np.float16)])
def test_constants_keep_their_shape_and_type(values):
    program = Program(net().model())
    weights = list(program.weighted())[-1].weights
    with pytest.raises(ValueError, match=r"is \(5, 4\) of float32"):
        program.with_constants({weights: values})


def test_weights_and_biases_are_known_by_name():
    program = Program(net().model())
    shapes = [(s.kind, program.shapes[s.weights], program.shapes.get(s.bias)) for s in program.weighted()]
    assert shapes == [
        ("CONV_2D", (4, 3, 3, 3), (4,)),
        ("DEPTHWISE_CONV_2D", (1, 3, 3, 4), (4,)),
        ("FULLY_CONNECTED", (5, 4), None),
    ]


def test_batches_are_bounded_by_the_bytes_of_their_activations(monkeypatch):
    program = Program(net().model())
    assert program.item_bytes == 4 * (6 * 8 * 4 + 3 * 4 * 4 + 4 + 5)
    monkeypatch.setattr(programs, "BATCH_BYTES", 2 * program.item_bytes)
    assert [len(part) for part in program.batches(items(5))] == [2, 2, 1]
    monkeypatch.setattr(programs, "BATCH_BYTES", 1)
    assert [len(part) for part in program.batches(items(3))] == [1, 1, 1]


def test_what_is_done_after_a_tensor_reaches_what_reads_it():
    program = Program(net().model())
    seen = []

    def double(name, value):
        seen.append(name)
        return 2 * value if name == program.steps[-2].output else value

    values = program.run(items(), after=double)
    assert seen == [program.source, *(step.output for step in program.steps)]
    assert np.allclose(values[program.sink], 2 * program.answers(items()), rtol=1e-5)


def test_a_program_that_answers_otherwise_than_litert_is_refused(monkeypatch):
    monkeypatch.setitem(programs.OPERATIONS, "MEAN", lambda step, x: 1.01 * x[0][:, 0, 0])
    with pytest.raises(UnknownOperationError, match="something else in LiteRT"):
        Program(net().model())
    monkeypatch.setitem(programs.OPERATIONS, "MEAN", lambda step, x: x[0][:, 0])
    with pytest.raises(UnknownOperationError, match="MEAN, which makes layer3: its shape"):
        Program(net().model())


def test_graphs_with_equal_names_or_several_inputs_are_refused():
    made = Net((1, 4), scale=0, dtype=np.float32)
    other = made.tensor((1, 4), dtype=np.float32)
    made.op("ADD", [made.input, other], (1, 4), scale=0, dtype=np.float32)
    with pytest.raises(UnknownOperationError, match="ADD, which makes t2"):
        Program(made.model())  # it reads what nothing makes
    made.graph.tensors[other].name = b"t0"
    with pytest.raises(UnknownOperationError, match="same name"):
        Program(made.model())
    made.graph.inputs = [made.input, other]
    made.graph.tensors[other].name = b"t9"
    with pytest.raises(UnknownOperationError, match="2 inputs"):
        Program(programs.flat.write(made.root))
