"""The contract of a file that others made and that stays as it is.

The guess is the same as for a file to be converted (`guess`), but what would become part of the graph is left to the
runtime (`Contract.adapter`). How pixels are scaled must be known: here, no source model shows that a guess is wrong.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.contract.guess import guess_contract
from edgepress.converters.contract.hints import Hints, ModelFacts
from edgepress.converters.contract.pixels import scaling_given
from edgepress.converters.schemes import SCHEMES
from edgepress.runtime.adapted import quantized, scaled
from edgepress.runtime.contract import Contract
from edgepress.runtime.errors import InputError, ModelFileError


def published_contract(path: Path, facts: ModelFacts, hints: Hints, scheme: str) -> tuple[Contract, tuple[str, ...]]:
    """The contract of a file as it is, and a note on each value that was found or guessed.

    Args:
        path: The file, for messages.
        facts: What was seen of it. A contract of edgepress in it holds where no hint says otherwise.
        hints: What the user knows of it.
        scheme: Name of the scheme that computes as it does.

    Raises:
        InputError: A hint contradicts the file.
        ModelFileError: Neither the file nor a hint says how its pixels are scaled.
    """
    known = facts.contract
    guess = guess_contract(facts, hints if known is None else _from_contract(known, hints))
    adapter = guess.adapter
    takes = facts.takes_scaling and facts.dtype not in ("uint8", "int8")
    unknown = adapter.item.is_image and takes and not scaling_given(hints)
    if known is None and unknown and len(facts.metadata.mean) not in (1, adapter.item.shape[2]):
        raise ModelFileError(
            f"{path} has no contract: edgepress did not make it, and its metadata do not say how pixels are scaled.",
            "Give --input-range (0,1 or -1,1; 0,255 if it takes raw pixels), --mean and --std, or --input; or "
            "--color none if items are not images. edgepress annotate writes it into a copy of the file.",
        )
    task = guess.contract.task
    if adapter.end == "softmax":
        if task not in ("softmax", "logits") or (task == "softmax" and facts.ends_in.lower() == "softmax"):
            raise InputError(f"The outputs of {path} are already probabilities ({task}).", "Leave --softmax out.")
        task = "logits"
    around = None if _takes_items(adapter, facts) and adapter.end != "sigmoid" else adapter.in_runtime
    alone = SCHEMES[scheme].item_by_item
    contract = guess.contract.replace(task=task, scheme=scheme, adapter=around, item_by_item=alone)
    if known is None:
        return contract, guess.notes
    described = known.replace(**{n: getattr(contract, n) for n in ("task", "labels", "input", "threshold", "adapter")})
    return described if described == known else described.without_limits(), ()


def _takes_items(adapter: InputAdapter, facts: ModelFacts) -> bool:
    """Whether the file takes the contract's items as they are, cast to its type and, if they are tensors, quantized."""
    if not adapter.item.is_image:
        return True
    layout = adapter.per_image or adapter.bgr or adapter.channels_first or adapter.model_shape != adapter.item.shape
    pixels = np.repeat(np.arange(256, dtype=np.uint8)[:, np.newaxis], adapter.item.shape[2], axis=1)[np.newaxis]
    if layout or facts.dtype == "int8":
        return False
    stored = quantized(scaled(pixels, adapter.in_runtime), facts.quantization, np.dtype(facts.dtype))
    return bool((stored == pixels).all())


def _from_contract(known: Contract, hints: Hints) -> Hints:
    """Hints that say what a contract says, where the user's say nothing."""
    adapter = InputAdapter.of(known)
    color = (adapter.bgr and "bgr") or known.input.color or "none"
    own: dict[str, Any] = {"labels": known.labels, "task": known.task, "threshold": known.threshold, "color": color}
    if known.input.is_image:
        own |= {"resize": known.input.resize, "channels_first": adapter.channels_first}
        if not scaling_given(hints) and known.adapter is not None:
            numbers = {"mean": adapter.mean, "std": adapter.std, "input_range": (0, 255)}
            own |= {"input": adapter.per_image} if adapter.per_image else numbers
    own["softmax"] = hints.softmax or adapter.end == "sigmoid"
    return dataclasses.replace(hints, **{k: v for k, v in own.items() if getattr(hints, k) in (None, False)})
