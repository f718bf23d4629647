"""The student of a distillation: where it begins, what it becomes, and what of it reaches the file."""

from __future__ import annotations

import numpy as np
import pytest
from rewriting import Net

from edgepress.converters.calibration import tflite_statistics
from edgepress.converters.graph.distill import Distillation, Student, Teaching, kind_of_answers, logits_of
from edgepress.converters.graph.program import Program
from edgepress.converters.graph.tflite_scales import scales_of_tflite
from edgepress.converters.ptq.score import runner
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_tflite.convert import with_scheme


def items(count: int = 64) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(count, 8, 8, 3)).astype(np.float32)


def net(*, softmax: bool = True) -> bytes:
    made = Net((8, 8), 3)
    made.conv(8, (3, 3), act=1)
    made.conv(8, (3, 3), act=1)
    made.add("MAX_POOL_2D", [made.now], (1, 4, 4, 8), filterHeight=2, filterWidth=2, strideH=2, strideW=2, padding=1)
    made.conv(8, (3, 3), act=1, stride=2)
    made.add("RESHAPE", [made.now, np.array([1, 32], np.int32)], (1, 32))
    weights = (made.random.normal(size=(5, 32)) / 500).astype(np.float32)
    made.add("FULLY_CONNECTED", [made.now, weights, np.zeros(5, np.float32)], (1, 5))
    if softmax:
        made.add("SOFTMAX", [made.now], (1, 5), beta=1.0)
    return made.model()


class Case:
    def __init__(self, scheme: str = "tflite-int4", **options: bool) -> None:
        self.model, self.scheme = net(**options), SCHEMES[scheme]
        self.ranges = tflite_statistics(self.model, lambda: [items()], None).ranges()
        self.program = Program(self.model)
        self.file = with_scheme(self.model, self.scheme, self.ranges, uint8=False)
        self.student = Student(self.program, scales_of_tflite(self.program, self.file))

    def answers(self) -> np.ndarray:
        """Those of the file that is made of the student."""
        ranges = self.ranges | self.student.ranges()
        answer = runner(with_scheme(self.student.model(), self.scheme, ranges, uint8=False))
        return np.stack([answer(item) for item in items()]).reshape(64, -1)

    def trained(self, steps: int = 40, **options: float) -> list[float]:
        kind = kind_of_answers(self.program, labelled=True)
        work = Distillation(self.program, self.student, Teaching(kind, **options))
        return [work.step(items(), np.zeros(64, np.int64), 5e-3 * (1 - n / steps)) for n in range(steps)]


@pytest.mark.parametrize("scheme", ["tflite-int8", "tflite-int4"])
def test_a_student_begins_as_the_file(scheme):
    case = Case(scheme)
    found = np.asarray(case.student.run(items())[case.program.sink])
    answer = runner(case.file)
    true = np.stack([answer(item) for item in items()]).reshape(64, -1)
    assert np.abs(found - true).max() <= 1.01 / 256
    assert np.abs(case.answers() - true).max() <= 1.01 / 256


@pytest.mark.slow
def test_training_brings_the_student_nearer_to_its_teacher_and_the_file_with_it():
    case = Case()
    true = case.program.answers(items())
    before = np.abs(case.answers() - true).mean()
    losses = case.trained()
    assert losses[-1] < losses[0]
    assert np.abs(case.answers() - true).mean() < 0.8 * before
    found = np.asarray(case.student.run(items())[case.program.sink])
    assert np.abs(found - case.answers()).mean() < 0.5 / 256  # the file is what was trained


def test_weights_stay_on_the_grid_that_the_quantizer_finds():
    case = Case()
    case.trained(5)
    made = Program(case.student.model())
    second = list(made.weighted())[1].weights
    largest = np.abs(made.constants[second]).max(axis=(1, 2, 3), keepdims=True)
    steps = made.constants[second] / (largest / 7)
    assert np.abs(steps - np.rint(steps)).max() < 1e-4
    assert np.abs(made.constants[second] - case.program.constants[second]).max() > 0


@pytest.mark.slow
def test_tied_tensors_keep_one_range_and_fixed_ones_theirs():
    case = Case()
    case.trained(5)
    conv, pool = (case.program.steps[i].output for i in (1, 2))
    ranges = case.student.ranges()
    assert ranges[conv] == ranges[pool]
    assert ranges[conv] != pytest.approx(case.student.simulation.scales.tensors[conv].range, rel=1e-6)
    assert case.program.source not in ranges
    assert case.program.sink not in ranges  # of a softmax


@pytest.mark.slow
def test_labels_are_a_part_of_the_loss():
    plain, labelled = Case(), Case()
    assert labelled.trained(1, labels=0.5)[0] > plain.trained(1)[0]


@pytest.mark.parametrize(("softmax", "labelled", "kind"), [(True, True, "softmax"), (False, False, "numbers")])
def test_answers_are_compared_before_a_final_softmax(softmax, labelled, kind):
    case = Case("tflite-int8", softmax=softmax)
    assert kind_of_answers(case.program, labelled=labelled) == kind
    values = case.program.run(items())
    name = case.program.steps[-1].inputs[0] if softmax else case.program.sink
    assert np.array_equal(logits_of(case.program, values), values[name])


def test_numbers_are_learned_by_their_squared_error():
    case = Case("tflite-int8", softmax=False)
    work = Distillation(case.program, case.student, Teaching("numbers"), spread=2.0)
    found, true = (np.asarray(p.run(items())[case.program.sink]) for p in (case.student, case.program))
    assert work.step(items(), np.zeros(64), 1e-3) == pytest.approx(float(((found - true) ** 2).mean()) / 4, rel=1e-4)
