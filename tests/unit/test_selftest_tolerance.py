"""The self-test's tolerance and its items, with a model that answers what a test wants."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from records import assert_frozen

from edgepress.runtime import Contract, InputError, InputSpec, ModelFileError
from edgepress.runtime import selftest as module
from edgepress.runtime.selftest import SAMPLE_STEPS, seeded_item, selftest

LABELS = ("a", "b", "c", "d")
WANTED = np.array([[0.5, 0.25, 0.125, 0.125], [0.1, 0.7, 0.1, 0.1]])
SPEC = InputSpec.image(4, 4, "grey")


class Fake:
    """A model that answers as it is told."""

    engine = "fake"

    def __init__(self, contract: Contract | None, answers: Any) -> None:
        self.contract, self.labels = contract, contract.labels if contract else ()
        self._answers = list(answers)
        self.given: list[Any] = []

    def scores(self, item: Any) -> Any:
        self.given.append(item)
        return np.array([self._answers[len(self.given) - 1]], np.float32)

    answer = scores

    def prepare(self, path: Path) -> Any:
        if path.suffix == ".broken":
            raise InputError("it can't be read")
        return np.zeros((4, 4, 1), np.uint8)


def coded(scores: Any) -> str:
    return base64.b64encode(np.round(np.asarray(scores) * 65535).astype("<u2").tobytes()).decode()


def contract(scheme: str = "tflite-int8", **test: Any) -> Contract:
    """As an older edgepress wrote it: the tolerance follows from the scheme."""
    raw = {
        "engine": "litert 2.3",
        "seeds": [3, 4],
        "columns": [],
        "scores": coded(WANTED),
        "top": [0, 1],
        "step": 1 / 256,
        "logit_step": 0.0,
    }
    document = {"task": "softmax", "labels": LABELS, "input": {"shape": [4, 4, 1], "color": "grey"}, "scheme": scheme}
    return Contract.from_json(json.dumps(document | {"schema_version": 1, "selftest": raw | test}))


def report_of(monkeypatch: pytest.MonkeyPatch, answers: Any = WANTED, path: Any = "m.tflite", **about: Any) -> Any:
    model = Fake(contract(**about), answers)
    monkeypatch.setattr(module, "load", lambda *_, **__: model)
    return selftest(path)


def test_records_are_frozen() -> None:
    assert_frozen(module, by_position=frozenset({"Check", "SelfTestReport"}))


@pytest.mark.parametrize(
    ("scheme", "steps"),
    [
        ("tflite-float32", 0.03),
        ("onnx-float32", 0.03),
        ("tflite-float16", 0.03),
        ("onnx-float16", 3.0),
        ("tflite-int8", 2.0),
        ("onnx-int8", 2.0),
        ("tflite-int16x8", 2.0),
        ("tflite-dynamic", 16.0),
        ("onnx-dynamic", 16.0),
        ("of-tomorrow", 16.0),
    ],
)
def test_answers_within_the_scheme_s_tolerance_pass_and_beyond_it_fail(
    monkeypatch: pytest.MonkeyPatch, scheme: str, steps: float
) -> None:
    for factor, passed in ((0.9, True), (1.1, False)):
        for sign in (1, -1):
            answers = WANTED.copy()
            answers[1, 2] += sign * factor * steps / 256
            report = report_of(monkeypatch, answers, scheme=scheme)
            assert [c.passed for c in report.checks] == [True, passed]
            assert report.passed == passed
            assert report.tolerance_steps == steps
            assert report.checks[1].largest_steps == pytest.approx(factor * steps, abs=0.01)
    assert (report.scheme, report.engine, report.reference) == (scheme, "fake", "litert 2.3")
    assert (report.file, report.checks[0].name) == ("m.tflite", "seed 3")


@pytest.mark.parametrize(
    ("step", "logit_step", "p", "expected"),
    [
        (0.01, 0.0, 0.125, 0.01),
        (0.0, 0.0, 0.125, 1 / 256),
        (0.01, 0.1, 0.125, 2 * 0.125 * 0.875 * 0.1),
        (0.1, 0.1, 0.125, 0.1),
        (0.0, 1.0, 0.5, 0.5),
    ],
)
def test_a_step_is_the_larger_of_what_the_output_and_the_logits_can_move(
    monkeypatch: pytest.MonkeyPatch, step: float, logit_step: float, p: float, expected: float
) -> None:
    column = WANTED[0].tolist().index(p)
    answers = WANTED.copy()
    answers[0, column] += 1.5 * expected
    report = report_of(monkeypatch, answers, step=step, logit_step=logit_step)
    assert report.checks[0].largest_steps == pytest.approx(1.5, rel=2e-3)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-2.0, 6.0), (1.0, 3.0)])
def test_stored_answers_reach_from_the_low_end_to_the_high_one(
    monkeypatch: pytest.MonkeyPatch, low: float, high: float
) -> None:
    share = np.array([[0.0, 1.0, 0.2, 0.6], [1.0, 0.0, 0.4, 0.8]])
    answers = low + (high - low) * share
    report = report_of(monkeypatch, answers, scores=coded(share), top=[1, 0], low=low, high=high, step=1e-5)
    assert [check.largest_steps for check in report.checks] == [pytest.approx(0, abs=0.1)] * 2


def test_a_step_of_outputs_that_are_not_quantized_is_a_part_of_their_range(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = np.array([[0.0, 0.8], [0.8, 0.0]])
    document = json.loads(contract(scores=coded(wanted), top=[1, 0], low=-2.0, high=6.0, step=0.0).to_json())
    none = Contract.from_json(json.dumps(document | {"task": "none", "labels": [], "output_shape": [2]}))
    answers = -2.0 + 8.0 * wanted
    answers[1, 1] += 1.5 * 8.0 / 256
    monkeypatch.setattr(module, "load", lambda *_, **__: Fake(none, answers))
    assert [check.largest_steps for check in selftest("m.tflite").checks] == [
        pytest.approx(v, abs=2e-3) for v in (0, 1.5)
    ]


def test_a_difference_is_told_with_its_label_from_half_a_step_on(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = WANTED.copy()
    answers[0, 2] += 0.4 / 256
    assert report_of(monkeypatch, answers).checks[0].detail == ""
    answers[0, 2] += 0.2 / 256
    detail = report_of(monkeypatch, answers).checks[0].detail
    assert "label 2" in detail
    assert f"{answers[0, 2]:.4f}" in detail
    assert "0.1250" in detail


def test_another_best_label_fails_unless_the_answers_leave_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    # One step is 1/256 and two may differ: the best may lead the right one by up to four.
    about = {"scores": coded([[0.25, 0.25, 0.25, 0.25], [0.1, 0.7, 0.1, 0.1]]), "columns": []}
    for lead, passed in ((3.9, True), (4.1, False)):
        answers = np.array([[0.25 - lead / 512, 0.25 + lead / 512, 0.25, 0.25], [0.1, 0.7, 0.1, 0.1]])
        report = report_of(monkeypatch, answers, **about)
        near = abs(report.checks[0].largest_steps - lead / 2) < 0.02
        assert near
        assert report.checks[0].passed == (passed if lead / 2 <= 2 else False)
    swapped = np.array([WANTED[0], [0.1, 0.7, 0.1, 0.1]])
    report = report_of(monkeypatch, swapped, top=[1, 1])
    assert not report.checks[0].passed
    assert "label 0" in report.checks[0].detail
    assert "1" in report.checks[0].detail


def test_of_many_labels_some_are_compared_and_the_best_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    about = {"columns": [0, 1], "scores": coded(WANTED[:, :2])}
    other = WANTED.copy()
    other[0, 3] += 0.2
    assert report_of(monkeypatch, other, **about).passed, "a label that is not stored may differ"
    for lead, passed in ((3.9, True), (4.1, False), (5.9, False)):  # twice the tolerance of two steps
        other[0, 3] = other[0, 0] + lead / 256
        assert report_of(monkeypatch, other, **about).passed == passed
    other[0, 3] = 0.7
    assert not report_of(monkeypatch, other, **about).passed, "but it may not be the best"
    wrong = WANTED.copy()
    wrong[1, 1] += 0.1
    report = report_of(monkeypatch, wrong, **about)
    assert not report.passed
    assert "label 1" in report.checks[1].detail


def test_answers_that_are_no_numbers_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    report = report_of(monkeypatch, np.array([[np.nan] * 4, WANTED[1]]))
    assert (report.checks[0].passed, report.checks[0].largest_steps) == (False, None)


@pytest.mark.parametrize(
    "test",
    [
        {"scores": coded(WANTED)[:-4]},
        {"scores": coded(WANTED)[:5] + "!" + coded(WANTED)[5:]},
        {"top": [0, 4]},
        {"columns": [0, 4], "scores": coded(WANTED[:, :2])},
        {"columns": [0, 1]},
    ],
)
def test_a_damaged_self_test_is_an_error(monkeypatch: pytest.MonkeyPatch, test: dict[str, Any]) -> None:
    with pytest.raises(ModelFileError):
        report_of(monkeypatch, **test)
    assert report_of(monkeypatch, columns=[2, 3], scores=coded(WANTED[:, 2:])).passed


def test_a_model_without_a_self_test_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for found in (None, Contract(task="softmax", labels=LABELS, input=SPEC, scheme="keras")):
        monkeypatch.setattr(module, "load", lambda *_, found=found, **__: Fake(found, WANTED))
        with pytest.raises(ModelFileError):
            selftest("m.tflite")


# A bundle's folder.


def bundle(folder: Path, samples: Any = None, *, models: tuple[str, ...] = ("m.tflite",)) -> Path:
    for name in models:
        (folder / name).write_bytes(b"")
    if samples is not None:
        (folder / "samples").mkdir()
        content = samples if isinstance(samples, str) else json.dumps({"schema_version": 1, "samples": samples})
        (folder / "samples" / "manifest.json").write_text(content)
    return folder


def sample(file: str = "7.png", label: str = "b", scores: Any = WANTED[1]) -> dict[str, Any]:
    return {"file": file, "label": label, "scores": list(scores)}


def test_images_may_differ_by_more_steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = bundle(tmp_path, [sample()])
    for steps, passed in ((2 + SAMPLE_STEPS - 0.1, True), (2 + SAMPLE_STEPS + 0.1, False)):
        image = WANTED[1].copy()
        image[0] += steps / 256
        report = report_of(monkeypatch, [*WANTED, image], folder)
        assert [c.name for c in report.checks] == ["seed 3", "seed 4", "7.png"]
        assert [c.passed for c in report.checks] == [True, True, passed]
    assert SAMPLE_STEPS == 2


def test_an_image_that_can_not_be_read_fails_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    report = report_of(monkeypatch, [*WANTED, WANTED[1]], bundle(tmp_path, [sample("x.broken"), sample()]))
    assert [(c.passed, c.largest_steps is None) for c in report.checks[2:]] == [(False, True), (True, False)]
    assert "read" in report.checks[2].detail
    assert report.file.endswith("m.tflite")


def test_a_folder_without_samples_is_tested_by_its_seeds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert len(report_of(monkeypatch, path=bundle(tmp_path)).checks) == 2
    assert len(report_of(monkeypatch, path=tmp_path / "m.tflite").checks) == 2


@pytest.mark.parametrize("models", [(), ("a.tflite", "b.onnx")])
def test_a_folder_holds_one_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, models: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=str(len(models))):
        report_of(monkeypatch, path=bundle(tmp_path, models=models))


@pytest.mark.parametrize(
    "samples",
    ["{", "[]", "{}", [{"file": "a"}], [sample(label="nobody")], [sample(scores=[1, 2, 3])], [sample(scores="x")], 3],
)
def test_a_damaged_list_of_samples_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, samples: Any) -> None:
    with pytest.raises(InputError):
        report_of(monkeypatch, [*WANTED, WANTED[1]], bundle(tmp_path, samples))


# Items.


def level(seed: int, place: int) -> int:
    """The bits that NumPy promises: the highest eight of each number of the generator."""
    return int(np.random.PCG64(seed).random_raw(place + 1)[place] >> np.uint64(56))


def test_items_of_other_than_three_dimensions_are_random_levels() -> None:
    spec = InputSpec(shape=(2, 3), dtype="float32", value_range=(-1.0, 3.0))
    expected = [[level(7, 3 * i + j) for j in range(3)] for i in range(2)]
    found = seeded_item(spec, 7)
    assert found.dtype == np.float32
    assert found == pytest.approx(-1 + np.array(expected) * 4 / 255, abs=1e-6)
    unit = seeded_item(InputSpec(shape=(5000,), dtype="float32"), 1)
    assert unit.std() == pytest.approx(1, abs=0.02)
    assert abs(unit.mean()) < 0.05
    plain = seeded_item(InputSpec(shape=(4,)), 2)
    assert plain.dtype == np.uint8
    assert plain.tolist() == [level(2, k) for k in range(4)]


@pytest.mark.parametrize("seed", range(8))
def test_an_image_lies_between_five_by_five_levels(seed: int) -> None:
    # At 5 x 5 and 9 x 9 pixels the levels themselves lie at every (second) pixel, and their means between.
    raw = np.random.PCG64(seed).random_raw(26)
    levels = (raw[:25] >> np.uint64(56)).astype(int).reshape(5, 5)
    contrast = int(raw[25] % 4) + 1
    expected = (levels * contrast + 128 * (4 - contrast)) // 4
    found = seeded_item(InputSpec.image(5, 5, "grey"), seed)
    assert found.shape == (5, 5, 1)
    assert found.dtype == np.uint8
    assert found[..., 0].tolist() == expected.tolist()
    large = seeded_item(InputSpec.image(9, 9, "grey"), seed)[..., 0]
    assert large[::2, ::2].tolist() == expected.tolist()
    middle = ((levels[:, :-1] + levels[:, 1:]) // 2 * contrast + 128 * (4 - contrast)) // 4
    assert large[::2, 1::2] == pytest.approx(middle, abs=1)


def test_items_of_any_size_keep_the_corners() -> None:
    corners = [
        seeded_item(InputSpec.image(h, w, "rgb"), 3)[:: max(h - 1, 1), :: max(w - 1, 1)] for h, w in ((5, 5), (7, 11))
    ]
    assert corners[0].tolist() == corners[1].tolist()
    assert seeded_item(InputSpec.image(1, 1, "rgb"), 3).shape == (1, 1, 3)
    assert len({seeded_item(SPEC, seed).tobytes() for seed in range(9)}) == 9
