from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.converters.contract import guess as guessing
from edgepress.converters.contract.guess import Guess
from edgepress.converters.contract.hints import Hints, ModelFacts
from edgepress.converters.contract.metadata import Metadata
from edgepress.converters.contract.write import published_contract
from edgepress.runtime import InputError, InputSpec, ModelFileError

IMAGE = (8, 6, 3)
finite = st.floats(-1e3, 1e3)


FACTS = ("dtype", "ends_in", "looks", "metadata", "value_range")


def guess_contract(shape: Any, outputs: int, **known: Any) -> Guess:
    facts = {name: known.pop(name) or "" for name in FACTS if name in known}
    return guessing.guess_contract(ModelFacts(shape, outputs, **facts), Hints(**known))


def note(guess: Guess, beginning: str) -> str:
    (found,) = (n for n in guess.notes if n.startswith(beginning + ":"))
    return found


def applied(guess: Guess, pixels: Any) -> Any:
    """What `Guess` says shall be done to pixels, done."""
    adapter = guess.adapter
    x = pixels.astype(np.float64)[..., :: -1 if adapter.bgr else 1]
    x = (x - np.array(adapter.mean)) / np.array(adapter.std)
    return (x.transpose(2, 0, 1) if adapter.channels_first else x).reshape(adapter.model_shape)


def test_whole_numbers_are_said_with_shape_and_range() -> None:
    guess = guess_contract((40,), 2, dtype="int32", value_range=(0, 499))
    assert note(guess, "input") == "input: tensors of shape 40 and int32 from 0 to 499 (found by trying), as they are"


def test_nothing_known_is_guessed_and_said() -> None:
    guess = guess_contract(IMAGE, 10)
    assert guess.contract.input == InputSpec.image(8, 6, "rgb")
    assert guess.contract.labels == tuple("0123456789")
    assert guess.contract.task == "softmax"
    assert not guess.adapter.steps
    assert "rgb images, 8 x 6, channels last" in note(guess, "input")
    assert "--color none" in note(guess, "input")
    assert "assumed 0 to 255" in note(guess, "pixels")
    assert "--labels" in note(guess, "labels")
    assert "assumed" in note(guess, "outputs")


def test_the_file_is_believed() -> None:
    metadata = Metadata(labels=("cat", "dog"), color="rgb", mean=(127.5,), std=(127.5,), notes=("something odd",))
    guess = guess_contract(IMAGE, 2, metadata=metadata, ends_in="SOFTMAX")
    assert (guess.contract.labels, guess.adapter.mean, guess.adapter.std) == (("cat", "dog"), (127.5,), (127.5,))
    assert note(guess, "pixels") == "pixels: -1 to 1, from the file's mean 127.5, std 127.5"
    assert note(guess, "labels") == "labels: 2 from the file's metadata"
    assert note(guess, "outputs") == "outputs: softmax (the graph ends in SOFTMAX)"
    assert "something odd" in guess.notes
    assert guess.adapter.steps


def test_flags_win_over_the_file() -> None:
    metadata = Metadata(labels=("cat", "dog"), color="bgr", mean=(127.5,), std=(127.5,))
    guess = guess_contract(IMAGE, 2, metadata=metadata, labels=["a", "b"], input_range="0,1", color="rgb")
    assert guess.contract.labels == ("a", "b")
    assert (guess.adapter.mean, guess.adapter.std, guess.adapter.bgr) == ((0.0,), (255.0,), False)
    assert note(guess, "pixels") == "pixels: 0 to 1, as given"


@pytest.mark.parametrize(
    ("shape", "flags", "expected"),
    [
        ((28, 28, 1), {}, ("grey", 28, 28, False)),
        ((1, 28, 28), {}, ("grey", 28, 28, True)),
        ((3, 32, 24), {}, ("rgb", 32, 24, True)),
        ((3, 32, 3), {}, ("rgb", 3, 32, False)),
        ((3, 32, 3), {"channels_first": True}, ("rgb", 32, 3, True)),
        ((28, 24), {"color": "grey"}, ("grey", 28, 24, False)),
        ((49, 10, 1), {"input_range": "0,1"}, ("grey", 49, 10, False)),
        ((32, 24, 3), {"color": "bgr"}, ("rgb", 32, 24, False)),
        ((49, 10, 1), {}, None),
        ((128, 1, 3), {}, None),
        ((128, 1, 3), {"color": "rgb"}, ("rgb", 128, 1, False)),
        ((32, 24, 3), {"color": "none"}, None),
        ((28, 28), {}, None),
        ((32, 24, 4), {}, None),
        ((640,), {}, None),
    ],
)
def test_what_is_an_image(shape: Any, flags: Any, expected: Any) -> None:
    guess = guess_contract(shape, 3, **flags)
    spec = guess.contract.input
    assert guess.adapter.model_shape == shape
    assert guess.adapter.bgr == (flags.get("color") == "bgr")
    if expected is None:
        assert spec == InputSpec(shape=shape, dtype="float32")
        assert not guess.adapter.steps
        hint = {(49, 10, 1): "--color grey", (28, 28): "--color grey", (128, 1, 3): "--color rgb"}.get(shape)
        assert (hint or "as they are") in note(guess, "input")
    else:
        color, height, width, first = expected
        assert spec == InputSpec.image(height, width, color)
        assert guess.adapter.channels_first == first


@given(
    bounds=st.tuples(st.floats(-2, 2), st.floats(3, 300)),
    mean=st.lists(finite, min_size=3, max_size=3),
    std=st.lists(st.floats(1e-2, 500), min_size=3, max_size=3),
    first=st.booleans(),
    bgr=st.booleans(),
)
def test_pixels_become_what_was_said(bounds: Any, mean: Any, std: Any, first: bool, bgr: bool) -> None:
    shape = (3, 8, 6) if first else (8, 6, 3)
    guess = guess_contract(
        shape, 2, input_range=bounds, mean=mean, std=std, channels_first=first, color="bgr" if bgr else "rgb"
    )
    pixels = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    ranged = bounds[0] + pixels[..., :: -1 if bgr else 1] / 255 * (bounds[1] - bounds[0])
    expected = (ranged - np.array(mean)) / np.array(std)
    expected = expected.transpose(2, 0, 1) if first else expected
    np.testing.assert_allclose(applied(guess, pixels), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("flags", "black", "white"),
    [
        ({"input_range": "-1,1"}, -1.0, 1.0),
        ({"input_range": " 0 , 1 "}, 0.0, 1.0),
        ({"mean": "127.5", "std": "127.5"}, -1.0, 1.0),
        ({"std": "255"}, 0.0, 1.0),
        ({"mean": "0.5", "std": "0.5"}, -1.0, 1.0),
        ({"input_range": "0,1", "mean": ".5"}, -0.5, 0.5),
        ({"mean": "100"}, -100.0, 155.0),
    ],
)
def test_ranges_and_means(flags: Any, black: float, white: float) -> None:
    guess = guess_contract(IMAGE, 2, **flags)
    assert applied(guess, np.zeros(IMAGE, np.uint8)) == pytest.approx(black)
    assert applied(guess, np.full(IMAGE, 255, np.uint8)) == pytest.approx(white)
    assert f"{black:g} to {white:g}" in note(guess, "pixels")


def test_torchvision_numbers_are_taken_for_those_of_0_to_1_and_that_is_said() -> None:
    guess = guess_contract((3, 8, 6), 2, mean="0.485,0.456,0.406", std="0.229,0.224,0.225")
    np.testing.assert_allclose(guess.adapter.mean, [123.675, 116.28, 103.53])
    np.testing.assert_allclose(guess.adapter.std, [58.395, 57.12, 57.375])
    assert "those of 0-1" in note(guess, "pixels")
    assert "those of 0-1" not in note(guess_contract(IMAGE, 2, input_range="0,1", std=".5"), "pixels")


@pytest.mark.parametrize(
    ("outputs", "ends_in", "task"),
    [
        (1, "LOGISTIC", "sigmoid"),
        (1, None, "sigmoid"),
        (3, "Sigmoid", "multilabel"),
        (3, "Softmax", "softmax"),
        (3, "SOFTMAX", "softmax"),
        (3, "FULLY_CONNECTED", "logits"),
        (3, "LogSoftmax", "logits"),
        (3, None, "softmax"),
    ],
)
def test_the_task_is_seen_in_the_last_operation(outputs: int, ends_in: str | None, task: str) -> None:
    guess = guess_contract(IMAGE, outputs, ends_in=ends_in)
    assert guess.contract.task == task
    assert guess.contract.outputs == outputs
    assert (ends_in or "assumed") in note(guess, "outputs")


@pytest.mark.parametrize(
    ("outputs", "ends_in", "looks", "task"),
    [
        (3, "RealDiv", "softmax", "softmax"),  # softmax by hand, or the mean of two heads
        (3, "Mul", "unit", "multilabel"),
        (3, "BiasAdd", "any", "logits"),
        (3, "", "any", "logits"),
        (3, "Sigmoid", "unit", "multilabel"),
        (1, "Div", "unit", "sigmoid"),
    ],
)
def test_the_task_is_seen_in_the_answers(outputs: int, ends_in: str, looks: Any, task: str) -> None:
    assert guess_contract(IMAGE, outputs, ends_in=ends_in, looks=looks).contract.task == task


def test_one_logit_is_no_classifier_without_its_sigmoid() -> None:
    with pytest.raises(InputError, match=r"(?s)answers do not lie between 0 and 1.*--softmax"):
        guess_contract(IMAGE, 1, ends_in="BiasAdd", looks="any")


def test_a_single_sigmoid_has_two_labels() -> None:
    assert guess_contract(IMAGE, 1).contract.labels == ("0", "1")
    assert guess_contract(IMAGE, 1, labels=["no", "yes"]).contract.labels == ("no", "yes")
    assert guess_contract(IMAGE, 1, labels=["person"], threshold=0.7).contract.labels == ("not person", "person")
    assert guess_contract(IMAGE, 1, metadata=Metadata(labels=("person",))).contract.labels == ("not person", "person")
    assert guess_contract(IMAGE, 1, threshold=0.7).contract.threshold == 0.7


def test_what_the_file_says_and_can_not_be_is_told() -> None:
    metadata = Metadata(labels=("a", "b"), color="grey", mean=(1.0, 2.0), std=(1.0, 2.0))
    guess = guess_contract(IMAGE, 3, metadata=metadata)
    assert guess.contract.labels == ("0", "1", "2")
    assert guess.contract.input.color == "rgb"
    assert "has 2, not 3" in note(guess, "labels")
    assert "has 2 numbers" in note(guess, "pixels")


def test_a_quantized_input_keeps_its_own_parameters() -> None:
    guess = guess_contract(IMAGE, 2, dtype="uint8", metadata=Metadata(mean=(127.5,), std=(127.5,)))
    assert not guess.adapter.steps
    assert "uint8" in note(guess, "pixels")


@pytest.mark.parametrize(
    ("shape", "outputs", "flags", "reason"),
    [
        ((-1, 8, 3), 2, {}, r"\[-1, 8, 3\]"),
        ((), 2, {}, "must be fixed"),
        (IMAGE, -1, {}, "must be fixed"),
        ((640,), 2, {"input_range": "0,1", "resize": "pad"}, "--resize, --input-range can't be used"),
        ((640,), 2, {"color": "rgb"}, "not a square rgb image"),
        ((3, 224, 224), 2, {"channels_first": False}, "are not images"),
        (IMAGE, 2, {"color": "grey"}, "grey, but the model takes 3 channels"),
        ((8, 8, 1), 2, {"color": "rgb"}, "rgb, but the model takes 1 channel"),
        (IMAGE, 2, {"color": "cmyk"}, "color 'cmyk'"),
        (IMAGE, 2, {"resize": "cut"}, "resize rule 'cut'"),
        (IMAGE, 2, {"resize": "crop:1.5"}, "resize rule 'crop:1.5'"),
        (IMAGE, 2, {"input": "whiten"}, "input 'whiten'"),
        (IMAGE, 2, {"input": "minmax", "mean": "1"}, "--mean can't be used together with --input minmax"),
        (IMAGE, 2, {"dtype": "uint8", "input": "minmax"}, "scales it itself"),
        (IMAGE, 2, {"task": "regress"}, "task 'regress'"),
        (IMAGE, 2, {"task": "sigmoid"}, "has 2 outputs"),
        (IMAGE, 1, {"task": "softmax"}, "has 1 output"),
        (IMAGE, 1, {"ends_in": "FULLY_CONNECTED"}, "not a classifier"),
        (IMAGE, 2, {"labels": ["a"]}, "1 labels were given; the model needs 2"),
        (IMAGE, 1001, {"labels": ["a"] * 1000}, "'background' first"),
        (IMAGE, 2, {"threshold": 0.5}, "no meaning for softmax"),
        (IMAGE, 1, {"threshold": 1.5}, "accepted: 0 to 1"),
        (IMAGE, 2, {"input_range": "1,0"}, "smaller first"),
        (IMAGE, 2, {"input_range": "0,1,2"}, "two numbers"),
        (IMAGE, 2, {"input_range": "0-1"}, "--input-range is '0-1'"),
        (IMAGE, 2, {"mean": "1,nan,2"}, "--mean is"),
        (IMAGE, 2, {"mean": "1,2"}, "for 3 channels"),
        (IMAGE, 2, {"mean": "1,2,3", "std": "1,2"}, "can't be used"),
        (IMAGE, 2, {"std": "0"}, "standard deviation of 0"),
        (IMAGE, 2, {"dtype": "uint8", "std": "2"}, "scales it itself"),
    ],
)
def test_what_can_not_be_is_one_clear_error(shape: Any, outputs: int, flags: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        guess_contract(shape, outputs, **flags)


def test_pixels_of_a_model_that_takes_integers_need_no_scaling() -> None:
    """A hint to give --input-range would lead to the error that there is none."""
    facts = ModelFacts(IMAGE, 2, format="onnx", dtype="int16", ends_in="Softmax")
    contract, _ = published_contract(Path("net.onnx"), facts, Hints(), "onnx-float32")
    assert contract.input.is_image
    with pytest.raises(ModelFileError, match="do not say how pixels are scaled"):
        published_contract(Path("net.onnx"), replace(facts, dtype="float32"), Hints(), "onnx-float32")


@pytest.mark.parametrize(
    ("shape", "known", "hint", "followed"),
    [
        ((12,), {"dtype": "int32"}, "Leave --input-range out", {}),
        ((784,), {"dtype": "int32"}, "Leave --input-range out", {}),
        ((640,), {}, "Leave --input-range out", {}),
        ((9, 9, 5), {}, "Leave --input-range out", {}),
        ((4, 9, 9, 3), {}, "Leave --input-range out", {}),
        ((784,), {}, "give --color grey", {"color": "grey", "input_range": "0,1"}),
        (
            (3, 32, 32),
            {"channels_first": False},
            "give --channels-first",
            {"channels_first": True, "input_range": "0,1"},
        ),
        (
            (32, 32, 3),
            {"channels_first": True},
            "give --channels-last",
            {"channels_first": False, "input_range": "0,1"},
        ),
    ],
)
def test_following_the_hint_on_options_of_images_helps(
    shape: tuple[int, ...], known: dict[str, Any], hint: str, followed: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match="are not images") as refused:
        guess_contract(shape, 3, input_range="0,1", **known)
    assert hint in refused.value.hint
    assert ("--channels-last" in refused.value.message) == (known.get("channels_first") is False)
    facts = {name: known[name] for name in FACTS if name in known}
    guess = guess_contract(shape, 3, **facts, **followed)
    assert guess.contract.input.is_image == bool(followed)
