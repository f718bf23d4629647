"""The usual ways in which images are prepared for a classifier, to be tried where a model answers wrongly.

Nothing in most model files says what was done to pixels before training, and a model that gets them otherwise still
answers, only wrongly. These are the preparations of the frameworks' own examples: Keras' three modes of
`preprocess_input`, torchvision's, TensorFlow's `per_image_standardization`, MNIST's mean and deviation.

"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.contract.guess import guess_contract
from edgepress.converters.contract.hints import Hints, ModelFacts

_SCALINGS: tuple[Mapping[str, str], ...] = (
    {"input_range": "0,1"},
    {"input_range": "-1,1"},
    {"input_range": "0,255"},
    {"input": "standardize"},
    {"input": "minmax"},
)
_OF_GREY: tuple[Mapping[str, str], ...] = ({"mean": "0.1307", "std": "0.3081"},)
"""MNIST's, in PyTorch's examples."""
_OF_COLOR: tuple[Mapping[str, str], ...] = (
    {"mean": "0.485,0.456,0.406", "std": "0.229,0.224,0.225"},  # torchvision
    {"mean": "123.68,116.779,103.939"},  # Caffe's, whose nets take blue first; in the order of the model's channels
)
_CLEARED: Mapping[str, Any] = {"input_range": None, "mean": None, "std": None, "input": None}


def other_preparations(facts: ModelFacts, hints: Hints) -> Iterator[tuple[Hints, InputAdapter]]:
    """The usual preparations other than the one that `hints` describe: hints, and the adapter that follows from them.

    There are none if items are not images, or the model scales them itself. Those with the channels in the given order
    come first.
    """
    given = guess_contract(facts, hints).adapter
    if not given.item.is_image or not facts.takes_scaling:
        return
    known = [_effect(given)]
    is_color = given.item.shape[2] == 3
    scalings = ({}, *_SCALINGS, *(_OF_COLOR if is_color else _OF_GREY))
    for bgr, scaling in product((given.bgr, not given.bgr) if is_color else (False,), scalings):
        changes = {**(_CLEARED if scaling else {}), **scaling}
        if bgr:
            changes |= {
                name: ",".join(reversed(scaling[name].split(","))) for name in ("mean", "std") if name in scaling
            }
        if bgr != given.bgr:
            changes["color"] = "bgr" if bgr else "rgb"
        changed = dataclasses.replace(hints, **changes)
        adapter = guess_contract(facts, changed).adapter
        if _effect(adapter) not in known:
            known.append(_effect(adapter))
            yield changed, adapter


def _effect(adapter: InputAdapter) -> tuple[object, ...]:
    """What tells preparations apart: one number for all channels is the same as that number for each."""
    scaling = tuple(
        tuple(round(n, 2) for n in numbers * (3 // len(numbers))) for numbers in (adapter.mean, adapter.std)
    )
    return adapter.bgr, adapter.per_image, scaling
