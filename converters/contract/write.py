"""Write the contract into a model file, as the last step: quantizing the file afterwards would drop it.

* `.tflite`: the standard metadata block (`tflite_metadata`) in the flatbuffer, and behind it a zip with `labels.txt`,
  which the block names, and `edgepress.json`. Its members are stored, not deflated, as the readers of TFLite metadata
  expect, and dated 1980, so that the same model results in the same bytes.
* `.onnx`: entries of `metadata_props`, which survive quantization.
* `.keras`: one more member of the zip that it is; Keras 3 ignores it. The time of saving is left out.
"""

from __future__ import annotations

import copy
import io
import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgepress.converters.files import weight_files, whole_file
from edgepress.converters.to_tflite.interface import input_scales
from edgepress.converters.to_tflite.metadata import NAME, write_block
from edgepress.converters.to_tflite.passes import with_metadata
from edgepress.runtime.contract import LABELS_MEMBER, MEMBER, Contract
from edgepress.runtime.errors import InputError
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
