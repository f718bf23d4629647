"""The files that `corrupted_files.py` damages, and the ways in which it does."""

from __future__ import annotations

import contextlib
import functools
import zipfile
from pathlib import Path

import numpy as np

from edgepress.converters.contract.guess import guess_contract
from edgepress.converters.contract.hints import Hints, ModelFacts
from edgepress.converters.conversion.conversion import Conversion
from edgepress.converters.proof.compare import seeded_items
from edgepress.converters.schemes import parse_schemes

SHARES = {".tflite": 0.4, ".onnx": 0.3, ".keras": 0.15, ".h5": 0.15}
"""Share of each kind among the copies."""
DEFLATED = "deflated.keras"
"""A file whose members are packed: Keras stores them, other programs that write a zip do not."""


def make_files(folder: Path) -> None:
    """A small net in all formats, unless it is there from an earlier run."""
    if folder.is_dir():
        return
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = keras.Input((16, 16, 3))
    x = layers.SeparableConv2D(8, 3, activation="relu")(layers.Rescaling(1 / 127.5, offset=-1)(inputs))
    x = layers.BatchNormalization()(layers.Conv2D(8, 3)(x))
    model = keras.Model(inputs, layers.Dense(4, activation="softmax")(layers.GlobalAveragePooling2D()(x)))
    made = folder.with_name("half made")
    made.mkdir(parents=True, exist_ok=True)
    with contextlib.redirect_stderr(None):
        for name in ("net.keras", "net.h5"):
            model.save(made / name)
    with zipfile.ZipFile(made / "net.keras") as old, zipfile.ZipFile(made / DEFLATED, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.namelist():
            new.writestr(member, old.read(member))
    contract = guess_contract(ModelFacts((16, 16, 3), 4), Hints(task="softmax")).contract
    calibration = functools.partial(list, [seeded_items(contract.input, 16)])
    with Conversion(made / "net.keras") as conversion:
        conversion.run(parse_schemes("all"), contract, calibration=calibration, out=made)
    made.rename(folder)


def files_by_kind(real: Path | None, made: Path) -> dict[str, list[Path]]:
    """Real files, unless there is no folder of them, and files made here, by their kind."""
    found: dict[str, list[Path]] = {suffix: [] for suffix in SHARES}
    for path in [*sorted(made.iterdir()), *(sorted(real.rglob("*")) if real is not None else ())]:
        suffix = ".h5" if path.suffix == ".hdf5" else path.suffix
        if suffix in found:
            found[suffix].append(path)
    return found


def damaged(rng: np.random.Generator, files: dict[str, list[Path]], suffix: str, target: Path) -> tuple[Path, str]:
    """Write a damaged copy of one of the files; which one, and what was done to it."""
    source = files[suffix][rng.integers(len(files[suffix]))]
    every = [path for paths in files.values() for path in paths]
    donor = (source if rng.random() < 0.5 else every[rng.integers(len(every))]).read_bytes()
    if suffix != ".keras" or rng.random() < (0.9 if source.name == DEFLATED else 0.3):
        data, damage = _damage(rng, source.read_bytes(), donor)
        target.write_bytes(data)
        return source, f"{source.name} {damage}"
    # A zip notices by its checksums; so most of the time what is in it is damaged, and packed again. What is deflated
    # is damaged as it is, because unpacking it is what may fail.
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        members = {name: old.read(name) for name in old.namelist()}
        chosen = list(members)[rng.integers(len(members))]
        members[chosen], damage = _damage(rng, members[chosen], donor)
        for name, data in members.items():
            new.writestr(name, data)
    return source, f"{source.name}, in it {chosen}, {damage}"


def _damage(rng: np.random.Generator, whole: bytes, donor: bytes) -> tuple[bytes, str]:
    """Damaged bytes, and how they were damaged."""
    data, kind = bytearray(whole), ("flipped", "flipped", "cut", "spliced")[rng.integers(4)]
    if kind == "flipped":
        count = 2 ** int(rng.integers(0, 7))
        end = len(data) if rng.random() < 0.5 else min(len(data), 4096)
        for place in rng.integers(0, end, count):
            data[place] ^= 1 << int(rng.integers(8))
        return bytes(data), f"{count} bits flipped"
    if kind == "cut":
        size = int(rng.integers(0, len(data)))
        return bytes(data[:size]), f"cut to {size} bytes"
    length = int(min(len(donor), 2 ** rng.integers(2, 16)))
    start, place = int(rng.integers(0, len(donor) - length + 1)), int(rng.integers(0, len(data)))
    overwritten = length if rng.random() < 0.5 else int(rng.integers(0, length))
    data[place : place + overwritten] = donor[start : start + length]
    return bytes(data), f"spliced with {length} bytes at {place}"
