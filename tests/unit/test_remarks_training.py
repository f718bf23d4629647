"""Remarks on a training, and the command that trains again."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from remarking import ARGUMENTS, epochs, facts, kinds, matrix

from edgepress.runtime.data_record import TableRecord
from edgepress.runtime.input_spec import InputSpec
from edgepress.runtime.sound.features import SoundFeatures, parse_features
from edgepress.toolkit.data import open_data
from edgepress.toolkit.results.remarks.checks import CHECKS
from edgepress.toolkit.training.facts import train_command

# a training that ended too early


LESS_GOOD = {"confusion": matrix([72] * 5, [0.95] * 5), "val_confusion": matrix([36] * 5, [0.95] * 5)}


@pytest.mark.parametrize(
    ("training", "validation", "improving"),
    [
        ([0.5, 0.8], [0.75, 0.85], True),
        ([0.5, 0.8, 0.85], [0.82, 0.93, 0.94], True),
        ([0.4, 0.75, 0.81, 0.83], [0.81, 0.88, 0.91, 0.90], True),
        ([0.5, 0.8], [0.95, 0.95], False),  # validation gains nothing
        ([0.94, 0.945], [0.93, 0.95], False),  # training gains by chance
        ([0.4], [0.8], True),
        ([0.95], [0.95], False),
    ],
)
def test_the_second_half_says_whether_training_ended_too_early(
    training: list[float], validation: list[float], improving: bool
) -> None:
    found = facts(arguments=ARGUMENTS | {"epochs": len(training)}, history=epochs(training, validation), **LESS_GOOD)
    assert ("still improving" in kinds(found)) == improving


def test_who_answers_nearly_all_correctly_need_not_train_longer() -> None:
    found = facts(arguments=ARGUMENTS | {"epochs": 2}, history=epochs([0.5, 0.8], [0.75, 0.99]))
    assert CHECKS["still improving"](found) is None


def test_a_rise_within_the_noise_is_no_remark() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        noise = rng.binomial(180, 0.9, 20) / 180
        found = facts(history=epochs([0.93] * 20, noise.tolist(), [0.3] * 20), **LESS_GOOD)
        assert CHECKS["still improving"](found) is None


def test_the_gain_of_a_falling_learning_rate_is_no_remark() -> None:
    training = [min(0.90 + 0.002 * i, 0.94) for i in range(30)]
    validation = [min(0.93 + 0.001 * i, 0.95) for i in range(30)]
    falling = [0.2 * 0.97**i for i in range(30)]
    found = facts(arguments=ARGUMENTS | {"epochs": 30}, history=epochs(training, validation, falling), **LESS_GOOD)
    assert CHECKS["still improving"](found) is None


def test_a_training_that_patience_ended_was_long_enough() -> None:
    found = facts(arguments=ARGUMENTS | {"epochs": 30}, history=epochs([0.5, 0.8], [0.75, 0.85]), **LESS_GOOD)
    assert CHECKS["still improving"](found) is None


def test_a_slow_training_is_seen_in_its_second_half() -> None:
    rising = [0.3 + 0.02 * i for i in range(20)]
    found = facts(history=epochs(rising, rising), confusion=matrix([72] * 5, [0.68] * 5))
    remark = CHECKS["still improving"](found)
    assert remark is not None
    assert "second half of 20 epochs, from 45.0 % to 65.0 % in training" in remark.text
    assert "'epochs': 40" in remark.command


def test_a_long_training_is_too_short_if_it_gained_much_at_whatever_pace() -> None:
    rising = [0.2 + 0.004 * i for i in range(100)]
    long = {"arguments": ARGUMENTS | {"epochs": 100}, "history": epochs(rising, rising)}
    found = CHECKS["still improving"](facts(**long, confusion=matrix([72] * 5, [0.6] * 5)))
    assert found is not None
    assert "second half of 100 epochs, from 35.8 % to 55.8 % in training" in found.text
    # 60 epochs of the dense net with a learning rate of 2e-5 on `groups` of benchmarks/diagnosis/remark_sets.py
    slow = [0.17, 0.23, 0.29, 0.36, 0.42, 0.48, 0.52, 0.55, 0.57, 0.59, 0.59, 0.59]
    losses = [1.83, 1.76, 1.69, 1.64, 1.59, 1.55, 1.52, 1.49, 1.48, 1.47, 1.46, 1.46]
    history = epochs(*([v for v in values for _ in range(5)] for values in (slow, slow, losses)))
    learned = {"confusion": matrix([48] * 5, [0.45] * 5), "val_confusion": matrix([24] * 5, [0.54] * 5)}
    found = CHECKS["still improving"](facts(arguments=ARGUMENTS | {"epochs": 60}, history=history, **learned))
    assert found is not None


def test_a_pre_trained_net_that_knows_its_training_items_has_ended() -> None:
    training, validation = [0.90, 0.92, 0.97, 0.99], [0.88, 0.89, 0.92, 0.93]
    options = {"history": epochs(training, validation), **LESS_GOOD}
    arguments = ARGUMENTS | {"epochs": 4}
    assert CHECKS["still improving"](facts(arguments=arguments, **options)) is not None
    assert CHECKS["still improving"](facts(arguments=arguments | {"two_steps": True}, **options)) is None
    for last, ended in ((0.98, True), (0.979, False)):
        options["history"] = epochs([0.5, 0.6, 0.8, last], validation)
        remark = CHECKS["still improving"](facts(arguments=arguments | {"two_steps": True}, **options))
        assert (remark is None) == ended


# an overfit training


def test_the_gap_must_be_beyond_chance() -> None:
    small = facts(confusion=matrix([8] * 5, [0.875] * 5), val_confusion=matrix([4] * 5, [1] * 5))
    assert CHECKS["far above validation"](small) is None
    large = facts(confusion=matrix([80] * 5, [0.875] * 5), val_confusion=matrix([40] * 5, [0.9] * 5))
    assert CHECKS["far above validation"](large) is not None


@pytest.mark.parametrize(
    ("change", "command"),
    [
        ({"augmentation": "none"}, "{'augmentation': 'auto'}"),
        ({}, "{'dropout': 0.3}"),
        ({"dropout": 0.4}, "{'dropout': 0.6}"),
        ({"dropout": 0.75}, "{'dropout': 0.8}"),
        ({"dropout": 0.8}, "look"),
        ({"dropout": 0.9}, "look"),
    ],
)
def test_what_is_tried_against_learning_by_heart(change: dict[str, Any], command: str) -> None:
    found = CHECKS["far above validation"](facts(confusion=matrix([72] * 5, [0.7] * 5), arguments=ARGUMENTS | change))
    assert found is not None
    assert command in found.command


# the command


@pytest.mark.parametrize(
    ("arguments", "changes", "expected"),
    [
        ({"arch": "lenet", "epochs": 20, "seed": 0}, {}, "--size 28 --out runs/digits-lenet-again"),
        ({"arch": "lenet", "epochs": 20, "seed": 3}, {"epochs": 40}, "--size 28 --epochs 40 --seed 3 --out"),
        ({"arch": "lenet"}, {"class_weights": True}, "--class-weights --out runs/digits-lenet-class-weights"),
        ({"arch": "lenet", "patience": None}, {"size": 56}, "--size 56 --patience 0 --out runs/digits-lenet-size-56"),
        ({"arch": "lenet"}, {"resize": "crop:0.875"}, "--resize crop:0.875 --out runs/digits-lenet-resize-crop-0.875"),
        ({"arch": "mobilenet-v2", "width": 0.5, "freeze": True}, {}, "--width 0.5 --freeze --out"),
        ({"arch": "lenet", "freeze": True}, {"freeze": False}, "--size 28 --out runs/digits-lenet-no-freeze"),
    ],
)
def test_the_next_training_has_the_options_of_this_one(
    arguments: dict[str, Any], changes: dict[str, Any], expected: str
) -> None:
    command = train_command(arguments, changes, source="digits", input=InputSpec.image(28, 28, "grey"))
    assert command.startswith(f"edgepress train --data digits --arch {arguments['arch']} --size")
    assert expected in command


def test_the_next_training_on_sound_has_its_window_and_front_end() -> None:
    how: dict[str, Any] = {"source": "sounds", "input": InputSpec(shape=(98, 32), dtype="float32")}
    how |= {"table": TableRecord(columns=(), window=98, step=20), "sound": SoundFeatures(channels=32, pcan=False)}
    command = train_command({"arch": "conv1d", "augmentation": "mix"}, {"epochs": 50}, **how)
    assert "--window 98 --step 20 --sound channels=32,pcan=False --epochs 50" in command
    assert parse_features("channels=32,pcan=False") == how["sound"]


def test_the_next_training_reads_the_data_as_this_one_did(tmp_path: Path) -> None:
    """In another color mode than that of the digits, and without the files that can't be read."""
    from PIL import Image

    from edgepress.toolkit.training.facts import facts_of

    spec = InputSpec.image(96, 96, "rgb")
    assert "--color rgb" in train_command({"arch": "mobilenet-v2"}, {}, source="digits", input=spec)
    assert "--color" not in train_command({"arch": "lenet"}, {}, source="cifar10", input=spec)
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for i in range(12):
            Image.fromarray(rng.integers(0, 256, (32, 32), dtype=np.uint8)).save(tmp_path / label / f"{i}.png")
    Image.new("RGB", (32, 32)).save(tmp_path / "loose.png")  # such are left out without the option
    (tmp_path / "cat" / "raw.heic").touch()
    whole = facts_of(open_data(tmp_path), np.eye(2), arguments={"arch": "lenet"}, look="look")
    assert "--skip-unreadable" not in whole.again({}) + whole.look
    (tmp_path / "cat" / "broken.png").write_bytes(b"")
    left = open_data(tmp_path, skip_unreadable=True)
    some = facts_of(left, np.eye(2), arguments={"arch": "lenet"}, look="look")
    assert " --skip-unreadable " in some.again({})
    assert some.look == "look --skip-unreadable"


def test_a_training_of_the_classifier_alone_leads_to_all_layers_where_items_suffice(tmp_path: Path) -> None:
    from edgepress.toolkit.training.facts import facts_of

    rng = np.random.default_rng(0)
    for each in (51, 50):  # training items of a class
        np.savez(
            tmp_path / "d.npz",
            x_train=rng.integers(0, 256, (2 * each, 8, 8, 3), np.uint8),
            y_train=np.arange(2 * each) % 2,
            x_val=rng.integers(0, 256, (4, 8, 8, 3), np.uint8),
            y_val=np.arange(4) % 2,
            x_test=rng.integers(0, 256, (4, 8, 8, 3), np.uint8),
            y_test=np.arange(4) % 2,
        )
        data = open_data(tmp_path / "d.npz")
        for frozen in (True, False):
            facts = facts_of(data, np.eye(2), arguments={"arch": "efficientnet-lite0", "freeze": frozen})
            assert bool(facts.all_layers) == (frozen and each == 51)
            assert "--freeze" not in facts.all_layers


def test_a_path_with_blanks_is_quoted_and_an_unknown_net_has_no_command() -> None:
    spec = InputSpec.image(48, 64, "rgb")
    words = shlex.split(train_command({"arch": "lenet"}, {}, source="my photos", input=spec))
    assert words[:4] == ["edgepress", "train", "--data", "my photos"]
    assert words[words.index("--size") + 1] == "48x64"
    assert words[words.index("--color") + 1] == "rgb"
    assert train_command({"arch": "theirs"}, {}, source="x", input=spec) == ""
    tensors = train_command({"arch": "dense"}, {}, source="x.npz", input=InputSpec(shape=(16,), dtype="float32"))
    assert "--size" not in tensors
