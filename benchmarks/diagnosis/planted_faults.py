"""Whether `edgepress diagnose --data` names first a fault that was planted in a finished file (`damaged_files.py`).

    python benchmarks/diagnosis/planted_faults.py NET.keras ... [--data digits] [--seed 0] [--rounds 1] [--sound]

Each net is a `.keras` file of edgepress. It is converted to int8 in both formats, with repairs and without, and each
file gets one fault of each kind a round: two nets make 40 cases. `--hard` multiplies the nets' channels first
(`hard_nets.py`), so that repairs have something to fix. A fault counts as named if the first layer of the diagnosis is
the damaged one. `--sound` diagnoses the files without faults instead, of more schemes, and prints what is said of them:
that no layer is damaged, and no sentence is false whose condition is checked here.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.append(str(Path(__file__).parents[1] / "shared"))

from damaged_files import KINDS, Fault, NoPlaceError, planted
from hard_nets import harden

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.contract.hints import Hints
from edgepress.converters.contract.write import tflite_with_contract
from edgepress.converters.conversion.float_graph import OpenJob, open_model
from edgepress.converters.diagnosis.examine import examine
from edgepress.converters.diagnosis.job import Examined
from edgepress.converters.diagnosis.layer import QuantizedLayer
from edgepress.converters.process.worker import Worker
from edgepress.converters.sources.open import open_source
from edgepress.runtime import load, read_contract
from edgepress.toolkit import convert, diagnose_accuracy
from edgepress.toolkit.data import open_data
from edgepress.toolkit.data.reading import STRICT
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.diagnosis.accuracy.diagnose import SILENCE_S
from edgepress.toolkit.diagnosis.accuracy.job import describe_subject, job_for

Array = npt.NDArray[Any]
JUDGED = 60
"""Validation items on which a fault must matter."""
EXPONENT = 3.0
"""Factors of hard nets are from 2^-3 to 2^3."""
SCHEMES = ("tflite-int8", "onnx-int8")
SOUND = ("tflite-int8", "onnx-int8", "tflite-dynamic", "tflite-int16x8", "onnx-dynamic")
POOLED = "_pooled"
"""What ONNX files add to the name of a mean that is made by a pool."""
FALSE = (
    "repaired with other",
    "were neither",
    "are neither the model's",
    "something else",
    "either these data are others",
    "converted from another",
)
"""Parts of sentences that are false of a file that was converted of this model with these data."""


def files_of(model: Path, folder: Path, schemes: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    """The net's files, with how they were made in words."""
    for repairs in (True, False):
        out = folder / ("repaired" if repairs else "plain")
        for made in convert(model, ",".join(schemes), out=out, repairs=repairs):
            if made.path is not None:  # others are too far from the model to be made
                yield f"{made.scheme} {out.name}", made.path


def scores(path: Path, items: Array) -> Array:
    """A file's answers to items, (n, outputs)."""
    model = load(path)
    return np.concatenate([np.ravel(model.answer(items[i : i + 1]))[np.newaxis] for i in range(len(items))])


class Error:
    """Squared error of a file's scores against its float model's; infinite if its engine refuses it."""

    def __init__(self, model: Path, items: Array, folder: Path) -> None:
        source = open_source(model)
        assert source.facts.contract is not None
        adapter = InputAdapter.of(source.facts.contract)
        self._truth, self._items, self._folder = adapter.finish(source.answer(adapter.apply(items))), items, folder

    def of(self, file: bytes, suffix: str) -> float:
        """That of a file."""
        path = self._folder / f"tried{suffix}"
        path.write_bytes(file)
        try:
            return float(np.square(scores(path, self._items) - self._truth).sum()) + 1e-6
        except Exception:  # the engine's own
            return float("inf")


def damage(sound: Path, kind: str, seed: int, error: Error, folder: Path) -> tuple[Path, Fault]:
    """A damaged file, and its fault, as the seed draws it for this net, file and kind."""
    tflite = sound.suffix == ".tflite"
    words = f"{folder.name} {sound.parent.name} {sound.suffix} {kind}".encode()
    own = int(np.random.default_rng([seed, *words]).integers(1 << 31))
    file, fault = planted(sound.read_bytes(), kind, own, lambda data: error.of(data, sound.suffix), tflite=tflite)
    path = folder / f"damaged{sound.suffix}"
    if tflite:
        contract = read_contract(sound)
        assert contract is not None
        file = tflite_with_contract(file, contract)
    path.write_bytes(file)
    return path, fault


class Layers:
    """The layers of files of one net, as the command measures them, in one process that has the net open."""

    def __init__(self, model: Path, options: argparse.Namespace, worker: Worker, folder: Path) -> None:
        self._model, self._options, self._worker, self._folder = model, options, worker, folder
        (self._facts,) = worker.call(open_model, OpenJob(model, Hints()))

    def of(self, file: Path) -> tuple[QuantizedLayer, ...]:
        """Those of a file, the one to blame first."""
        subject, _ = describe_subject(
            self._model, file, Hints(), data=self._options.data, items=self._options.items, reading=STRICT
        )
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            samples = self._options.samples
            job = job_for(subject, self._facts, Path(folder), layer_items=samples)
            (found,) = [each for each in self._worker.call(examine, job) if isinstance(each, Examined)]
        return found.measured.layers


@contextmanager
def nets(paths: list[Path], data: DataSet, *, hard: bool) -> Iterator[list[tuple[Path, Path]]]:
    """The nets with a folder for the files of each."""
    with tempfile.TemporaryDirectory() as temporary:
        found = []
        for path in paths:
            folder = Path(temporary) / path.parent.name
            folder.mkdir()
            model = path
            if hard:
                model = folder / "model.keras"
                items = np.concatenate([s.read(slice(0, len(s))) for s in (data.train, data.val, data.test)])
                harden(path, model, items, seed=1, exponent=EXPONENT)
            found.append((model, folder))
        yield found


def plant(model: Path, folder: Path, options: argparse.Namespace, data: DataSet) -> Iterator[bool]:
    """Whether each fault of a net is named first."""
    error = Error(model, data.val.read(slice(0, JUDGED)), folder)
    sound = list(files_of(model, folder, SCHEMES))
    with Worker(silence_s=SILENCE_S) as worker:
        layers = Layers(model, options, worker, folder)
        for (how, file), kind, turn in product(sound, KINDS, range(options.rounds)):
            start = time.monotonic()
            try:
                path, fault = damage(file, kind, options.seed + turn, error, folder)
            except NoPlaceError as e:
                print(f"{folder.name:12} {how:20} {e}", flush=True)
                continue
            found = layers.of(path)
            layer = fault.layer.removesuffix(POOLED)
            place = next((at for at, each in enumerate(found, 1) if each.name == layer), 0)
            first = f"{found[0].name}: {found[0].fault or 'no fault'}"
            what = f"{fault.layer}: {fault.what}; place {place}, first {first}; {time.monotonic() - start:.0f} s"
            print(f"{folder.name:12} {how:20} {kind:14} {what}", flush=True)
            yield place == 1


def tell(model: Path, folder: Path, options: argparse.Namespace) -> Iterator[bool]:
    """Whether nothing false is said of each sound file of a net."""
    for how, sound in files_of(model, folder, SOUND):
        found = diagnose_accuracy(
            model, sound, data=options.data, test_items=options.items, samples=options.samples, attempt=False
        )
        damaged = [f"{each.name}: {each.fault}" for each in found.layers if each.damaged]
        false = [part for part in FALSE for text in (found.text, *found.notes) if part in text]
        print(
            f"{folder.name:12} {how:24} {found.text} {' '.join(found.notes)} {damaged or ''} {false or ''}", flush=True
        )
        yield not damaged and not false


def main() -> None:
    """Print each case and the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nets", nargs="+", type=Path, metavar="NET.keras")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--items", type=int, default=100, help="test items that are answered")
    parser.add_argument("--samples", type=int, default=24, help="those on which layers are measured")
    parser.add_argument("--hard", action="store_true")
    parser.add_argument("--sound", action="store_true")
    options = parser.parse_args()
    data = open_data(options.data)
    right: list[bool] = []
    with nets(options.nets, data, hard=options.hard) as found:
        for model, folder in found:
            right += tell(model, folder, options) if options.sound else plant(model, folder, options, data)
    what = "sound files of which nothing false is said" if options.sound else "faults named first"
    print(f"{sum(right)} of {len(right)} {what}")
    sys.exit(int(not all(right)))


if __name__ == "__main__":
    main()
