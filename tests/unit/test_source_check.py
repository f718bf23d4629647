"""A source model whose items are prepared or labelled wrongly is found before it is converted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.contract.guess import guess_contract
from edgepress.converters.contract.hints import Hints, ModelFacts
from edgepress.toolkit.conversion.source_check import MEASURED, NEAR, SourceCheck, check_source, other_preparations
from edgepress.toolkit.stats.metrics import near_largest

CLASSES = 5
SIDE = 8
PREPARATIONS = {
    "0 to 255": {},
    "0 to 1": {"input_range": "0,1"},
    "-1 to 1": {"input_range": "-1,1"},
    "ImageNet": {"mean": "0.485,0.456,0.406", "std": "0.229,0.224,0.225"},
    "Caffe, blue first": {"color": "bgr", "mean": "103.939,116.779,123.68"},
    "blue first": {"color": "bgr", "input_range": "0,1"},
    "each image": {"input": "standardize"},
}


def facts(channels: int = 3) -> ModelFacts:
    return ModelFacts((SIDE, SIDE, channels), CLASSES, format="keras", ends_in="Softmax")


def pictures(count: int = 256, channels: int = 3, seed: int = 0) -> tuple[Any, Any]:
    """Pictures whose class is a pattern, in the first channel most of all, below noise."""
    rng = np.random.default_rng(seed)
    patterns = np.random.default_rng(99).uniform(40, 220, (CLASSES, SIDE, SIDE, channels))
    labels = rng.integers(0, CLASSES, count)
    pixels = patterns[labels] + rng.normal(0, 40, (count, SIDE, SIDE, channels))
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8), labels


def nearest_pattern(hints: Hints, channels: int = 3) -> Any:
    """A model that knows the mean picture of each class as it was prepared in its training."""
    items, labels = pictures(2000, channels, seed=1)
    prepared = guess_contract(facts(channels), hints).adapter.apply(items).reshape(len(items), -1)
    means = np.stack([prepared[labels == each].mean(axis=0) for each in range(CLASSES)])

    def answer(model_items: Any) -> Any:
        flat = model_items.reshape(len(model_items), 1, -1)
        return -np.square(flat - means).sum(axis=2).astype(np.float32)

    return answer


def checked(answer: Any, given: Hints, *, channels: int = 3, order: Any = None, items: Any = None) -> SourceCheck:
    guess = guess_contract(facts(channels), given)
    x, y = items or pictures(channels=channels)

    def ask(some: Any, adapters: Sequence[InputAdapter]) -> Iterator[Any]:
        return (answer(adapter.apply(some)) for adapter in adapters)

    labels = y if order is None else np.asarray(order)[y]
    contract = guess.contract.replace(labels=("ant", "bee", "cow", "dog", "elk"))
    return check_source(x, labels, ask, contract=contract, adapter=guess.adapter, facts=facts(channels), hints=given)


@pytest.mark.parametrize("given", PREPARATIONS)
@pytest.mark.parametrize("right", PREPARATIONS)
def test_a_wrong_preparation_is_found_with_the_options_and_a_right_one_is_not_accused(right: str, given: str) -> None:
    """49 pairs of a model and a preparation; 25 cost accuracy, others nothing, so that they are no error."""
    answer = nearest_pattern(Hints(**PREPARATIONS[right]))
    check = checked(answer, Hints(**PREPARATIONS[given]))
    best = checked(answer, Hints(**PREPARATIONS[right])).accuracy
    assert best > 0.9
    if check.accuracy > best - 0.05:
        assert not check.is_wrong, check.text
        return
    assert check.better is not None
    assert check.better_accuracy > best - 0.03
    assert checked(answer, check.better).text == "", "with the options that it names, there is nothing to say"
    assert " ".join(check.options) in check.text


@pytest.mark.parametrize(("given", "option"), [({"input_range": "0,1"}, "--input-range 0,255"), ({}, "")])
def test_grey_pictures(given: Any, option: str) -> None:
    check = checked(nearest_pattern(Hints(), 1), Hints(**given), channels=1)
    assert " ".join(check.options) == option


def test_labels_in_another_order_are_found() -> None:
    """Folders are sorted by name; nets were often trained in another order."""
    answer = nearest_pattern(Hints())
    check = checked(answer, Hints(), order=[2, 0, 1, 4, 3])
    assert check.better is None
    assert check.order == ("cow", "ant", "bee", "elk", "dog")
    assert "in the order cow, ant, bee, elk, dog" in check.text
    assert "--labels" in check.text


def test_a_net_that_knows_nothing_is_said_to_know_nothing() -> None:
    check = checked(lambda items: np.eye(CLASSES, dtype=np.float32)[np.zeros(len(items), int)], Hints())
    assert check.near is not None
    assert (check.better, check.order) == (None, ())
    assert "answering" in check.text
    assert "train it longer" in check.text
    assert check.to_dict()["near_largest_class"]


@pytest.mark.parametrize("seed", range(20))
def test_a_middling_net_is_not_accused(seed: int) -> None:
    """Chance alone makes some of a dozen preparations look better on 48 items."""
    rng = np.random.default_rng(seed)
    items, labels = pictures(seed=seed)
    answer = nearest_pattern(Hints())

    def unsure(prepared: Any) -> Any:
        scores = answer(prepared)
        noise = rng.normal(0, scores.std(), scores.shape)
        return (scores + 1.5 * noise).astype(np.float32)

    check = checked(unsure, Hints(), items=(items, labels))
    assert 0.3 < check.accuracy < 0.97
    assert check.better is None
    assert check.order == ()


@pytest.mark.parametrize(("count", "said"), [(20, False), (60, True)])
def test_few_items_prove_no_weakness(count: int, said: bool) -> None:
    check = checked(lambda items: np.eye(CLASSES, dtype=np.float32)[np.zeros(len(items), int)], Hints(),
                    items=pictures(count))  # fmt: skip
    assert (check.near is not None) == said


def test_the_usual_preparations_are_different_ones() -> None:
    hints = [words.words for words, _ in other_preparations(facts(), Hints())]
    assert len(hints) == len({*hints}) >= 12
    assert ("--input-range", "0,255") not in hints, "that is what is assumed"
    assert not [*other_preparations(ModelFacts((6,), CLASSES), Hints())], "items are no images"
    other = [words for words, _ in other_preparations(facts(), Hints(input_range="-1,1"))]
    assert any(each.input_range == "0,255" for each in other)
    assert all((each.input_range, each.mean, each.std, each.input) != (None,) * 4 for each in other)


def test_a_benchmark_of_all_test_items_rarely_contradicts_the_check() -> None:
    """Of a model that the check calls near the largest class, a benchmark, which has more items, recommends no file."""
    rng = np.random.default_rng(0)
    accused = contradicted = 0
    for _ in range(1000):
        count = int(rng.integers(2, 20))
        shares = rng.dirichlet(np.full(count, rng.choice([0.5, 2, 20])))
        skill = rng.uniform(0, 0.6)

        def drawn(items: int, shares: Any = shares, count: int = count, skill: float = skill) -> list[Any]:
            y = rng.choice(count, items, p=shares)
            right = np.where(rng.random(items) < skill, y, rng.choice(count, items, p=shares)) == y
            return [np.bincount(y, minlength=count), np.bincount(y[right], minlength=count)]

        if near_largest(*drawn(MEASURED), NEAR) is not None:
            accused += 1
            contradicted += near_largest(*drawn(int(rng.choice([300, 1000, 5000])))) is None
    assert accused > 200, "few models are accused: the check says nothing"
    assert contradicted < 0.04 * accused
