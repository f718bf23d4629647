"""The contract written into a file as the last step, and that of a file by others that stays as it is.

* `.tflite`: the standard metadata block (`tflite_metadata`) in the flatbuffer, and behind it a zip with `labels.txt`,
  which the block names, and `edgepress.json`. Its members are stored, not deflated, as the readers of TFLite metadata
  expect, and dated 1980, so that the same model results in the same bytes.
* `.onnx`: entries of `metadata_props`, which survive quantization.
* `.keras`: one more member of the zip that it is; Keras 3 ignores it. The time of saving is left out.

The contract of a file that others made and that stays as it is.

The guess is the same as for a file to be converted (`guess`), but what would become part of the graph is left to the
runtime (`Contract.adapter`). How pixels are scaled must be known: here, no source model shows that a guess is wrong.
"""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.contract.guess import guess_contract
from edgepress.converters.contract.hints import Hints, ModelFacts
from edgepress.converters.contract.kinds import scaling_given
from edgepress.converters.files import weight_files, whole_file
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_tflite.interface import input_scales
from edgepress.converters.to_tflite.metadata import NAME, write_block
from edgepress.converters.to_tflite.passes import with_metadata
from edgepress.runtime.adapted import quantized, scaled
from edgepress.runtime.contract import LABELS_MEMBER, MEMBER, Contract
from edgepress.runtime.errors import InputError, ModelFileError
from edgepress.runtime.input_record import InputRecord

if TYPE_CHECKING:
    import onnx


def tflite_with_contract(model: bytes, contract: Contract) -> bytes:
    """The bytes of a TFLite model that carries `contract`, without anything that was appended to its flatbuffer."""
    contract = _with_quantization(model, contract)
    whole = io.BytesIO(with_metadata(model, NAME, write_block(contract)))
    with zipfile.ZipFile(whole, "a") as archive:
        for name, text in _members(contract).items():
            _write(archive, name, text)
    return whole.getvalue()


def _with_quantization(model: bytes, contract: Contract) -> Contract:
    """The contract with the scale and zero point of each of several inputs."""
    if not isinstance(record := contract.input, InputRecord):
        return contract
    scales = input_scales(model)
    inputs = tuple(replace(each, quantization=scales[each.name]) for each in record.inputs)
    return contract.replace(input=replace(record, inputs=inputs))


def onnx_with_contract(model: onnx.ModelProto, contract: Contract) -> onnx.ModelProto:
    """A copy of an ONNX model that carries `contract`."""
    import onnx

    whole = copy.deepcopy(model)
    whole.producer_name = "edgepress"
    whole.producer_version = contract.tools.get("edgepress", "")
    onnx.helper.set_model_props(whole, _members(contract))
    return whole


def onnx_annotated(content: bytes, contract: Contract, *, moved: bool) -> bytes:
    """The bytes of an ONNX file that carries `contract` beside what its own metadata say.

    Args:
        content: The file's bytes.
        contract: The contract.
        moved: Whether the new file gets another folder, where files with weights would be missing.

    Raises:
        InputError: It has such files and would be moved away from them.
    """
    import onnx

    model = onnx.load_from_string(content)
    beside = weight_files(model)
    if beside and moved:
        raise InputError(
            f"The file's weights are in {', '.join(beside)}, in its folder.", "Name a new file in the same folder."
        )
    own = {p.key: p.value for p in model.metadata_props}
    onnx.helper.set_model_props(model, own | _members(contract))
    return bytes(model.SerializeToString())


def write_keras_contract(path: Path, contract: Contract) -> None:
    """Put `contract` into a `.keras` file, replacing the one that it carries; whole or not at all.

    The time of saving, and the addresses in memory by which Keras names shared objects, are left out, so that the same
    training results in the same bytes: what is made from the file holds its hash.
    """
    with whole_file(path) as temporary, zipfile.ZipFile(path) as source, zipfile.ZipFile(temporary, "w") as target:
        for member in source.infolist():
            if member.filename != MEMBER:
                _write(target, member.filename, _timeless(member.filename, source.read(member)), member.compress_type)
        _write(target, MEMBER, contract.to_json())


def _timeless(name: str, content: bytes) -> bytes:
    """A member of a `.keras` file without what differs between two files of the same model."""
    if name == "metadata.json":
        return json.dumps({key: value for key, value in json.loads(content).items() if key != "date_saved"}).encode()
    if name == "config.json":
        numbers: dict[bytes, int] = {}
        return re.sub(
            rb'"shared_object_id": (\d+)',
            lambda found: b'"shared_object_id": %d' % numbers.setdefault(found[1], len(numbers) + 1),
            content,
        )
    return content


def _members(contract: Contract) -> dict[str, str]:
    """The contract, and its labels if it has any: one per line and output; of a single sigmoid the second of two."""
    labels = contract.labels[-contract.outputs :]
    lines = {LABELS_MEMBER: "".join(" ".join(label.splitlines()) + "\n" for label in labels)} if labels else {}
    return {MEMBER: contract.to_json()} | lines  # first, so that a file that was cut off in the zip shows its name


def _write(archive: zipfile.ZipFile, name: str, content: str | bytes, compression: int = zipfile.ZIP_STORED) -> None:
    archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, compression)


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
