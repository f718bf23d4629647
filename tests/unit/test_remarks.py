"""What each check finds, and that it stays silent where chance or health explains the figures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from remarking import ARGUMENTS, HEALTHY, epochs, facts, kinds, matrix

from edgepress.toolkit.data import open_data
from edgepress.toolkit.data.types import Conflicts
from edgepress.toolkit.measurement.evaluation import _new_steps
from edgepress.toolkit.results.remarks.checks import CHECKS, remarks
from edgepress.toolkit.results.remarks.facts import Facts, ImageSizes


def test_a_healthy_model_has_no_remark() -> None:
    assert kinds(HEALTHY) == []


def short(training: list[float], validation: list[float], **changes: Any) -> Facts:
    """A finished training of few epochs."""
    history = epochs(training, validation)
    return facts(arguments=ARGUMENTS | {"epochs": len(history)}, history=history, **changes)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_after_few_epochs_more_of_them_are_the_first_advice(count: int) -> None:
    """Before weights of rare classes, other sizes of images, and smaller steps; whether or not its figures rose."""
    sick = {
        "train_counts": np.array([500, 500, 500, 500, 40]),
        "images": ImageSizes(stored=(600, 800), seen=(28, 28), count=64, resize="stretch"),
    }
    for recalls in ([0.9] * 4 + [0.0], [1.0, 0, 0, 0, 0], [0.8] * 5):
        for training in ([0.2 + 0.2 * i for i in range(count)], [0.3] * count):
            found = remarks(short(training, training, confusion=matrix([90, 40, 40, 40, 9], recalls), **sick))
            assert found[0].kind in ("few epochs", "still improving")
            assert found[0].command == "again {'epochs': 10}"
            assert not any("class_weights" in remark.command for remark in found)
    data = Conflicts(20, 10, 1000, 10, ((("x", "a"), ("y", "b")),) * 8)
    wrong = remarks(short([0.3] * count, [0.3] * count, confusion=matrix([72] * 5, [0.5] * 5), conflicts=data))
    assert [remark.kind for remark in wrong][:2] == ["contradictory labels", "few epochs"], "the data must be right"


@pytest.mark.parametrize(("items", "planned", "wanted"), [(150, 6, 100), (150, 20, 100), (1270, 4, 13), (3200, 4, 10)])
def test_after_few_steps_more_epochs_are_the_first_advice(items: int, planned: int, wanted: int) -> None:
    """Batch normalization answers as at its beginning: validation is at chance, however well the net trains."""
    found = remarks(
        short(
            [0.2 + 0.6 * n / planned for n in range(planned)],
            [0.2] * planned,
            confusion=matrix([72] * 5, [1.0, 0, 0, 0, 0]),
            train_counts=np.array([items - 4 * (items // 5), *[items // 5] * 4]),
        )
    )
    assert found[0].kind == "few epochs"
    assert found[0].command == f"again {{'epochs': {wanted}}}"
    assert ("steps" in found[0].text) == (planned * -(-items // 32) < 200)
    assert ("far above validation" in [remark.kind for remark in found]) == (planned * -(-items // 32) >= 200)


def test_enough_steps_are_no_short_training() -> None:
    many = short([0.9] * 5, [0.2] * 5, train_counts=np.array([256] * 5))  # 200 steps
    assert "few epochs" not in kinds(many)


def test_a_short_training_that_got_all_right_or_was_not_finished_needs_no_more() -> None:
    assert kinds(short([0.9, 1.0], [0.99, 0.995])) == []
    stopped = facts(history=epochs([0.5, 0.5], [0.5, 0.5]), confusion=matrix([72] * 5, [0.8] * 5))
    assert "few epochs" not in kinds(stopped)


def test_nothing_is_said_of_what_was_not_measured() -> None:
    bare = Facts(labels=("a", "b"), confusion=matrix([200, 200], [0.9, 0.9]))
    assert kinds(bare) == []


@pytest.mark.parametrize("kind", CHECKS)
def test_a_remark_is_one_sentence_with_figures_and_the_next_command(kind: str) -> None:
    sick = {
        "contradictory labels": facts(conflicts=Conflicts(20, 10, 1000, 10, ((("x", "a"), ("y", "b")),) * 8)),
        "few epochs": short([0.8] * 3, [0.8] * 3, confusion=matrix([72] * 5, [0.8] * 5)),
        "near the largest class": facts(confusion=matrix([72] * 5, [0.2] * 5)),
        "never predicted": facts(confusion=matrix([72, 72, 72, 72, 9], [1, 1, 1, 1, 0]), val_confusion=None),
        "still improving": facts(
            arguments=ARGUMENTS | {"epochs": 2},
            history=epochs([0.5, 0.8], [0.75, 0.85]),
            confusion=matrix([72] * 5, [0.9] * 5),
        ),
        "far above validation": facts(confusion=matrix([72] * 5, [0.7] * 5)),
        "image size": facts(
            images=ImageSizes(stored=(600, 800), seen=(28, 28), count=64, resize="stretch"),
            confusion=matrix([72] * 5, [0.9] * 5),
        ),
        "few test items": facts(confusion=matrix([8] * 5, [0.9] * 5)),
        "no pre-trained weights": facts(confusion=matrix([72] * 5, [0.9] * 5), transfer="train with weights"),
        "classifier alone": facts(confusion=matrix([72] * 5, [0.9] * 5), all_layers="train without --freeze"),
    }[kind]
    remark = CHECKS[kind](sick)
    assert remark is not None
    assert remark in remarks(sick)
    assert remark.kind == kind
    assert remark.text.endswith(".")
    assert any(letter.isdigit() for letter in remark.text)
    assert remark.command
    assert remark.figures
    assert remark.to_dict()["kind"] == kind


def test_for_photos_pre_trained_weights_come_before_all_other_advice() -> None:
    """More epochs, larger images and weights of classes gain a part of what they do."""
    sick = {
        "transfer": "edgepress train --data photos",
        "train_counts": np.array([500, 500, 500, 500, 40]),
        "images": ImageSizes(stored=(600, 800), seen=(96, 96), count=64, resize="stretch"),
        "conflicts": Conflicts(20, 10, 1000, 10, ((("x", "a"), ("y", "b")),) * 8),
    }
    for count in (1, 3, 20):
        rising = [0.2 + 0.6 * i / count for i in range(count)]
        found = remarks(short(rising, rising, confusion=matrix([90, 40, 40, 40, 9], [0.8] * 4 + [0.0]), **sick))
        assert found[0].kind == "no pre-trained weights"
        assert found[0].command == "edgepress train --data photos"
        assert {"image size"} <= {remark.kind for remark in found}
        assert {"still improving", "few epochs"} & {remark.kind for remark in found}


def test_a_net_that_answers_nearly_all_photos_needs_no_other_weights() -> None:
    assert kinds(facts(transfer="edgepress train --data photos")) == []
    assert kinds(facts(all_layers="edgepress train --data photos")) == []


# near the largest class


@pytest.mark.parametrize(("is_image", "named"), [(True, "--input-range"), (False, "--labels")])
def test_a_model_made_elsewhere_may_be_described_wrongly(is_image: bool, named: str) -> None:
    """Then it does not follow that it learned little, nor that no conversion helps."""
    own = facts(confusion=matrix([72] * 5, [0.2] * 5), is_image=is_image)
    words = {
        foreign: CHECKS["near the largest class"](dataclasses.replace(own, foreign=foreign)).text  # type: ignore[union-attr]
        for foreign in (True, False)
    }
    assert named in words[True]
    assert ("--color" in words[True]) == is_image
    assert "no conversion" not in words[True]
    assert words[False].endswith("so the net has learned little, and no conversion can fix that.")


def test_the_largest_class_is_compared_with_over_the_same_items() -> None:
    always = np.array([[180, 0], [20, 0]])
    assert "near the largest class" in kinds(facts(labels=("a", "b"), confusion=always, val_confusion=None))
    better = np.array([[178, 2], [2, 18]])  # 98 % where the largest class has 90 %
    assert kinds(facts(labels=("a", "b"), confusion=better, val_confusion=None, train_counts=None)) == []


def test_a_low_accuracy_among_many_classes_is_not_near_the_largest_class() -> None:
    wide = facts(labels=tuple(map(str, range(100))), confusion=matrix([100] * 100, [0.3] * 100), val_confusion=None)
    assert CHECKS["near the largest class"](wide) is None


def test_few_items_alone_do_not_make_a_model_look_near_the_largest_class() -> None:
    few = facts(labels=("a", "b"), confusion=np.array([[4, 1], [0, 5]]), val_confusion=None)
    assert CHECKS["near the largest class"](few) is None


def test_unequal_classes_are_weighted_first_and_then_steps_get_smaller() -> None:
    always = facts(labels=("a", "b"), confusion=np.array([[180, 0], [20, 0]]), val_confusion=None)
    remark = CHECKS["near the largest class"](always)
    assert remark is not None
    assert "class_weights" in remark.command
    equal = dataclasses.replace(always, arguments=ARGUMENTS | {"class_weights": True})
    remark = CHECKS["near the largest class"](equal)
    assert remark is not None
    assert "0.0003}" in remark.command


def test_a_model_that_is_worse_than_the_largest_class_is_called_so() -> None:
    worse = CHECKS["near the largest class"](facts(labels=("a", "b"), confusion=np.array([[20, 160], [10, 10]])))
    assert worse is not None
    assert "that is worse than answering a always" in worse.text


@settings(max_examples=50)
@given(st.integers(2, 12), st.integers(20, 400), st.integers(0, 2**32 - 1))
def test_guesses_are_nearly_always_near_the_largest_class(classes: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, guess = rng.integers(0, classes, (2, count))
    found = np.bincount(y * classes + guess, minlength=classes**2).reshape(classes, classes)
    guessed = facts(labels=tuple(map(str, range(classes))), confusion=found, val_confusion=None)
    if np.trace(found) <= found.sum(axis=1).max():
        assert CHECKS["near the largest class"](guessed) is not None


# never predicted


def test_a_small_class_that_is_missed_by_chance_is_no_remark() -> None:
    one = facts(confusion=matrix([72, 72, 72, 72, 1], [0.95, 0.95, 0.95, 0.95, 0]), val_confusion=None)
    assert CHECKS["never predicted"](one) is None
    four = facts(confusion=matrix([72, 72, 72, 72, 4], [0.95, 0.95, 0.95, 0.95, 0]), val_confusion=None)
    assert CHECKS["never predicted"](four) is not None


def test_validation_items_count_for_classes_that_are_never_predicted() -> None:
    two = matrix([72, 72, 72, 72, 1], [0.97, 0.97, 0.97, 0.97, 0])
    assert CHECKS["never predicted"](facts(confusion=two, val_confusion=two)) is not None
    answered = two.copy()
    answered[0, 4] += 1
    assert CHECKS["never predicted"](facts(confusion=two, val_confusion=answered)) is None


def test_a_class_without_items_is_not_missed() -> None:
    assert CHECKS["never predicted"](facts(confusion=matrix([72, 72, 72, 72, 0], [1] * 5), val_confusion=None)) is None


@pytest.mark.parametrize(
    ("rare", "weighted", "command"), [(True, False, "class_weights"), (True, True, "look"), (False, False, "look")]
)
def test_rare_classes_are_weighted_and_others_are_looked_at(rare: bool, weighted: bool, command: str) -> None:
    counts = np.array([250, 250, 250, 250, 20 if rare else 250])
    found = CHECKS["never predicted"](
        facts(
            confusion=matrix([72, 72, 72, 72, 9], [1, 1, 1, 1, 0]),
            val_confusion=None,
            train_counts=counts,
            arguments=ARGUMENTS | {"class_weights": weighted},
        )
    )
    assert found is not None
    assert command in found.command


def test_most_often_is_not_most() -> None:
    spread = matrix([72, 72, 72, 72, 26], [1, 1, 1, 1, 0])
    spread[4] = 7, 7, 6, 6, 0
    found = CHECKS["never predicted"](facts(confusion=spread, val_confusion=None))
    assert found is not None
    assert found.text.endswith("it takes them most often for a.")


def test_classes_with_long_lists_are_named_in_part() -> None:
    lame = matrix([40] * 20, [1.0] * 20)
    lame[10:, :] = 0
    lame[10:, 3] = 40
    found = CHECKS["never predicted"](
        facts(labels=tuple(f"c{i}" for i in range(20)), confusion=lame, val_confusion=None, train_counts=None)
    )
    assert found is not None
    assert "10 of 20 classes (c10, c11, c12, ...)" in found.text
    assert "c3" in found.text


# images


def test_images_beyond_the_largest_net_are_cropped_once() -> None:
    images = ImageSizes(stored=(2000, 2000), seen=(224, 224), count=64, resize="crop:0.875")
    found = CHECKS["image size"](facts(images=images, confusion=matrix([72] * 5, [0.8] * 5)))
    assert found is not None
    assert found.command == "look"  # not the training that was


@pytest.mark.parametrize(
    ("stored", "seen", "change"),
    [
        ((600, 800), (28, 28), "{'size': 56}"),
        ((2000, 2000), (224, 224), "{'resize': 'crop:0.875'}"),
        ((600, 800), (48, 64), "{'size': '96x128'}"),
        ((600, 2400), (96, 192), "{'size': '112x224'}"),
        ((16, 16), (96, 96), "{'size': 28}"),
        ((5, 5), (28, 28), None),  # no net sees fewer
        ((8, 300), (224, 224), "{'resize': 'pad'}"),
        ((40, 160), (96, 96), "{'resize': 'pad'}"),
        ((8, 8), (28, 28), None),  # the digits
        ((32, 32), (96, 96), None),
        ((224, 224), (96, 96), None),
        ((60, 80), (64, 64), None),
    ],
)
def test_images_far_from_what_the_net_sees(stored: tuple[int, int], seen: tuple[int, int], change: str | None) -> None:
    images = ImageSizes(stored=stored, seen=seen, count=64, resize="stretch")
    found = CHECKS["image size"](facts(images=images, confusion=matrix([72] * 5, [0.8] * 5)))
    assert (found is not None) == (change is not None)
    assert found is None or (change or "") in found.command
    assert CHECKS["image size"](facts(images=images)) is None  # a net that answers nearly all correctly sees enough


# labels


def test_one_contradiction_among_many_items_is_no_remark() -> None:
    few = Conflicts(items=8, wrong=4, total=60_000, groups=4, examples=())
    assert CHECKS["contradictory labels"](facts(conflicts=few)) is None


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2)), min_size=30, max_size=60))
def test_conflicts_are_counted_as_a_count_by_hand(items: list[tuple[int, int]]) -> None:
    from edgepress.toolkit.data.conflicts import find_conflicts
    from edgepress.toolkit.data.items import ReadOptions, array_items

    x = np.array([[[c]] for c, _ in items], np.uint8)
    y = np.array([y for _, y in items])
    read = array_items({"train": (x, y)}, labels=("a", "b", "c"), options=ReadOptions())
    found = find_conflicts(read, np.lexsort((read.y, read.hashes)))
    by_content = {c: [label for content, label in items if content == c] for c, _ in items}
    groups = [labels for labels in by_content.values() if len(set(labels)) > 1]
    assert (found is not None) == bool(groups)
    if found is not None:
        assert found.groups == len(groups)
        assert found.items == sum(map(len, groups))
        assert found.wrong == sum(len(labels) - max(labels.count(v) for v in labels) for labels in groups)
        assert found.total == len(items)
        for group in found.examples:
            names, labels = zip(*group, strict=True)
            assert len(set(labels)) == len(labels) > 1
            assert len({items[int(name.split()[1])][0] for name in names}) == 1
            assert labels == tuple("abc"[items[int(name.split()[1])][1]] for name in names)


def test_a_folder_with_a_picture_in_two_classes_names_both_files(tmp_path: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for i in range(12):
            Image.fromarray(rng.integers(0, 256, (32, 32), dtype=np.uint8)).save(tmp_path / label / f"{i}.png")
    assert open_data(tmp_path).conflicts is None
    (tmp_path / "dog" / "copy.png").write_bytes((tmp_path / "cat" / "3.png").read_bytes())
    found = open_data(tmp_path).conflicts
    assert found is not None
    assert (found.items, found.wrong, found.total, found.groups) == (2, 1, 25, 1)
    (tmp_path / "dog" / "same.png").write_bytes((tmp_path / "dog" / "5.png").read_bytes())  # a copy in its own class
    assert open_data(tmp_path).conflicts == dataclasses.replace(found, total=26)
    assert {name.replace("\\", "/") for name, _ in found.examples[0]} == {"cat/3.png", "dog/copy.png"}


def test_the_digits_contradict_nothing(digits: Any) -> None:
    assert digits.conflicts is None


def test_evaluate_does_not_advise_to_run_it_again() -> None:
    """Except for data whose labels contradict each other, which change before."""
    look = "edgepress evaluate net.onnx --data d"
    never = matrix([60] * 4, [0.9] * 4)
    never[:, 3] = 0
    never[3, 0] = 60
    conflicts = Conflicts(items=24, wrong=12, total=240, groups=12, examples=())
    known = Facts(labels=("a", "b", "c", "d"), confusion=never, look=look, conflicts=conflicts)
    found = {remark.kind: remark.command for remark in _new_steps(known)}
    assert found["never predicted"] == ""
    assert found["contradictory labels"] == look
