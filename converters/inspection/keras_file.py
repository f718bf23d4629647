"""Read a Keras file without Keras: a `.keras` is a zip of JSON and HDF5, an `.h5` is HDF5 with JSON in an attribute.

This works even for files that Keras can't open (unknown layers, code, old versions). The file does not contain the
shapes between layers; `keras_graph` adds them.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgepress.converters.contract.hints import Size
from edgepress.converters.inspection.report import Inspection, Node, Port, Weight, with_size
from edgepress.converters.sources.saved_keras import refuse_unsafe
from edgepress.runtime.contract import MEMBER, read_contract

CONFIG = "config.json"
VERSION = "metadata.json"
WEIGHTS = "model.weights.h5"
OPTIMIZER = "optimizer"
WEIGHTS_ONLY = (
    "It holds weights and no architecture: converting it needs the whole model (model.save, not save_weights)."
)


def read_keras(path: Path, size: Size | None = None) -> Inspection:
    """Describe a `.keras` file.

    Raises:
        ModelFileError: It is damaged, or holds a contract that is.
    """
    contract = read_contract(path)
    refuse_unsafe(path)
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read(CONFIG))
        version = json.loads(archive.read(VERSION)).get("keras_version", "")
        content = io.BytesIO(archive.read(WEIGHTS))
        extra = archive.getinfo(MEMBER).file_size if contract else 0
    weights, optimizer_bytes = _weights(content)
    inspection = _inspection(
        path, "keras", version, config=config, weights=weights, optimizer_bytes=optimizer_bytes, size=size
    )
    return inspection.replace(contract=contract, metadata_bytes=extra)


def read_h5(path: Path, size: Size | None = None) -> Inspection:
    """Describe an `.h5` file, a whole model or only weights.

    Raises:
        ModelFileError: It is damaged.
    """
    import h5py

    refuse_unsafe(path)
    with h5py.File(path) as file:
        text = file.attrs.get("model_config")
        version = file.attrs.get("keras_version", b"")
    config = json.loads(text) if text is not None else None
    weights, optimizer_bytes = _weights(path)
    version = version.decode(errors="replace") if isinstance(version, bytes) else str(version)
    inspection = _inspection(
        path, "h5", version, config=config, weights=weights, optimizer_bytes=optimizer_bytes, size=size
    )
    return inspection if config else inspection.replace(notes=(*inspection.notes, WEIGHTS_ONLY))


def _weights(file: Path | io.BytesIO) -> tuple[list[Weight], int]:
    """The weights in an HDF5 file, and the bytes of an optimizer's state."""
    import h5py

    weights: list[Weight] = []
    optimizer = 0

    def visit(name: str | bytes, item: Any) -> None:
        nonlocal optimizer
        name = name.decode(errors="replace") if isinstance(name, bytes) else name  # bytes if they are not UTF-8
        if not isinstance(item, h5py.Dataset):
            return
        size = int(item.id.get_storage_size())
        if name.startswith(OPTIMIZER):
            optimizer += size
            return
        shape = tuple(int(n) for n in item.shape or ())
        weights.append(Weight(name=name, shape=shape, dtype=str(item.dtype), size_bytes=size))

    with h5py.File(file) as opened:
        opened.visititems(visit)
    return sorted(weights, key=lambda w: -w.size_bytes), optimizer


def _inspection(
    path: Path,
    format: str,
    version: str,
    *,
    config: Any,
    weights: list[Weight],
    optimizer_bytes: int,
    size: Size | None,
) -> Inspection:
    layers = list(_layers(config)) if config else []
    inputs = [layer for layer in layers if layer["class_name"] == "InputLayer"]
    nodes = [
        Node(operation=str(layer["class_name"]), name=str(layer["config"].get("name", "")))
        for layer in layers
        if layer["class_name"] != "InputLayer"
    ]
    notes = (f"An optimizer's state takes {optimizer_bytes} bytes of it.",) if optimizer_bytes else ()
    ports = with_size([_port(layer["config"]) for layer in inputs], size, str(path))
    return Inspection(
        file=str(path),
        format=format,
        size_bytes=path.stat().st_size,
        producer=f"keras {version}".strip(),
        inputs=tuple(ports),
        nodes=tuple(nodes),
        weights=tuple(weights),
        notes=notes,
    )


def _layers(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The layers of a model's configuration, including those of nested models."""
    inner = config["config"]
    layers = inner.get("layers") if isinstance(inner, dict) else inner  # Keras 2.0 wrote a Sequential as a bare list
    for layer in layers or []:
        if isinstance(layer["config"], list) or "layers" in layer["config"]:
            yield from _layers(layer)
        else:
            yield layer


def _port(config: dict[str, Any]) -> Port:
    shape = config.get("batch_shape") or config.get("batch_input_shape")
    dtype = config.get("dtype")
    return Port(
        name=str(config.get("name", "")),
        shape=tuple(None if n is None else int(n) for n in shape) if isinstance(shape, list) else None,
        dtype=dtype if isinstance(dtype, str) else "float32",
    )
