"""The cells of `proof_table.py`: files of each net, sound and broken, and their answers, kept in a folder."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import proof_faults
from proof_models import CALIBRATION, HELD_OUT, PROOF, Subject

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.contract.guess import guess_contract
from edgepress.converters.contract.write import onnx_with_contract, tflite_with_contract
from edgepress.converters.conversion.encode import FilesJob
from edgepress.converters.conversion.float_graph import (
    FloatGraphJob,
    OpenJob,
    get_open_model,
    make_float_graph,
    open_model,
)
from edgepress.converters.conversion.make import Done, make_files
from edgepress.converters.options.conversion import MINMAX
from edgepress.converters.proof.compare import seeded_items
from edgepress.converters.proof.selftest import ProofItems
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_onnx import interface
from edgepress.converters.to_tflite import passes
from edgepress.runtime import load
from edgepress.runtime.contract import Contract
from edgepress.runtime.decisions import two_columns

Array = npt.NDArray[np.float32]
SLOW = 512
"""Items of an int16x8 file, whose kernels are slow."""
UNREPAIRED = "no repairs"
KINDS = ("data", "seeded", "held")
Cells = Iterator["Cell"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A file and its answers.

    Attributes:
        subject, scheme, fault: Which file; no fault if it is sound.
        task, ends_in: Of the source model.
        source: Its answers by the kind of items, shape (N, C).
        scores: The file's answers.
        logits: Those before its last softmax or sigmoid; None if there is none.
        labels: Of the held-out items, if they have any.
        data_labels: Of the items that files are verified on, if they have any.
    """

    subject: str
    scheme: str
    fault: str
    task: str
    ends_in: str
    source: dict[str, Array]
    scores: dict[str, Array]
    logits: dict[str, Array] | None
    labels: npt.NDArray[np.int64] | None
    data_labels: npt.NDArray[np.int64] | None

    @property
    def sound(self) -> bool:
        """Whether nothing was changed in the file, nor in what was asked for."""
        return self.fault in ("", UNREPAIRED)


def folder_of(cache: Path, name: str) -> Path:
    """Where the answers of a net's files are kept."""
    return cache / "cells" / name.replace(" ", "-")


def cells(subject: Subject, cache: Path, seeds: int) -> Iterator[Cell]:
    """Every cell of a net; those that do not run, and would be refused by any proof, are left out."""
    folder = folder_of(cache, subject.name)
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        _make(subject, folder, seeds)
        (folder / "complete").touch()
    common = np.load(folder / "common.npz")
    labels = common.get("labels")
    data_labels = subject.show_labels(len(common["data"]), 1) if subject.show_labels else None
    single = str(common["task"]) == "sigmoid"  # of which the runtime gives both labels' probabilities
    source = {kind: two_columns(common[kind]) if single else common[kind] for kind in KINDS}
    for path in sorted(folder.glob("*-*+*.npz")):
        found = dict(np.load(path))
        scheme, _, fault = path.stem.partition("+")
        scores = {k: found[k] for k in KINDS if k in found}
        logits = (
            {k: found[f"logits_{k}"] for k in scores if k != "held"} if "logits_data" in found and not single else None
        )
        task, ends_in = (str(common[name]) for name in ("task", "ends_in"))
        kept = {"subject": subject.name, "scheme": scheme, "fault": fault, "labels": labels, "data_labels": data_labels}
        yield Cell(
            **kept,
            task=task,
            ends_in=ends_in,
            source=source,
            scores=scores,
            logits=logits,
        )


def _make(subject: Subject, folder: Path, seeds: int) -> None:
    reports: list[Any] = []
    open_model(OpenJob(subject.path, subject.hints), reports.append)
    facts, source = reports[0], get_open_model()
    if facts.contract is not None:
        contract, adapter = facts.contract, InputAdapter(facts.contract.input, facts.contract.input.shape)
    else:
        guess = guess_contract(facts, subject.hints)
        contract, adapter = guess.contract, guess.adapter
    spec = contract.input
    items = {"data": subject.show(spec, PROOF, 1), "seeded": seeded_items(spec, PROOF)}
    extra: dict[str, Any] = {"task": contract.task, "ends_in": facts.ends_in}
    if subject.labelled:
        items["held"], extra["labels"] = subject.labelled(spec)
    else:
        items["held"] = subject.show(spec, HELD_OUT, 2)
    calibration = subject.show(spec, CALIBRATION, 0)
    truths = {kind: adapter.finish(source.answer(adapter.apply(x))) for kind, x in items.items()}
    np.savez(folder / "common.npz", **truths, **extra)
    schemes = [s.name for s in SCHEMES.values() if facts.format in (s.format, "keras", "savedmodel") and not s.is_mixed]
    made = [("" if repairs else UNREPAIRED, adapter, repairs) for repairs in subject.repairs]
    if spec.is_image:
        made += [("wrong input range", _with(adapter, **_other_range(adapter)), True)]
        made += [("blue first", _with(adapter, bgr=not adapter.bgr), True)] if spec.color == "rgb" else []
    with tempfile.TemporaryDirectory() as temporary:
        for name, used, repairs in made:
            some = schemes if not name else [s for s in schemes if SCHEMES[s].arithmetic == "int8"]
            targets = {s: Path(temporary) / f"{s}.{SCHEMES[s].format}" for s in some}
            reports = []
            batches = partial(list, [calibration])
            wanted: tuple[Any, ...] = ("exact", "dynamic", "weights", "int8", "int4")
            job = FloatGraphJob(
                Path(temporary), used, batches, wanted=wanted, how=dataclasses.replace(MINMAX, repairs=repairs)
            )
            make_float_graph(job, reports.append)
            files = FilesJob(
                targets, contract, used, batches, ProofItems(items["data"], name="x", verify=False), reports.pop()
            )
            make_files(files, reports.append)
            for report in reports:
                if isinstance(report, Done) and report.variant.error:
                    print(f"{subject.name} {report.variant.scheme}: {report.variant.error}", file=sys.stderr)
                if not isinstance(report, Done) or report.variant.path is None:
                    continue
                scheme, path = report.variant.scheme, report.variant.path
                _answer(path.read_bytes(), contract, scheme, items, folder / f"{scheme}+{name}.npz")
                for fault, seed in _faults(subject, scheme, seeds) if not name else ():
                    changed = proof_faults.broken(path.read_bytes(), fault, seed)
                    if changed is not None:
                        _answer(changed, contract, scheme, items, folder / f"{scheme}+{fault} {seed}.npz")


def _other_range(adapter: InputAdapter) -> dict[str, Any]:
    """0-1 instead of any other range; -1 to 1 instead of that."""
    return {"mean": (127.5,), "std": (127.5,)} if adapter.std[0] == 255 else {"mean": (0.0,), "std": (255.0,)}


def _with(adapter: InputAdapter, **changes: Any) -> InputAdapter:

    return dataclasses.replace(adapter, **changes)


def _faults(subject: Subject, scheme: str, seeds: int) -> Iterator[tuple[str, int]]:
    """One fault in `subject.faults`, of int16x8 half as many, of int4 none; other schemes have the others."""
    start = int(hashlib.sha256(f"{subject.name} {scheme}".encode()).hexdigest()[:6], 16)
    if SCHEMES[scheme].weight_bits == 4:
        return  # whose weights are packed
    for i, fault in enumerate(proof_faults.FAULTS):
        for seed in range(seeds):
            if (i + start + seed) % (subject.faults * (2 if scheme.endswith("int16x8") else 1)) == 0:
                yield fault, start + seed


def _answer(model: bytes, contract: Contract, scheme: str, items: dict[str, Any], path: Path) -> None:
    """Run a file, and the same without its end, and keep the answers; a file that does not run leaves none."""
    task = "softmax" if contract.task == "logits" else contract.task
    raw = contract.replace(task=task, scheme=scheme, verification=None, selftest=None)
    raw = raw.replace(item_by_item=SCHEMES[scheme].item_by_item)
    tflite, suffix = model[4:8] == b"TFL3", SCHEMES[scheme].format
    cut = (passes if tflite else interface).before_end(model)
    found: dict[str, Any] = {}
    try:
        for prefix, data in (("", model), ("logits_", cut)):
            if data is None:
                continue
            with tempfile.NamedTemporaryFile(suffix=f".{suffix}") as file:
                Path(file.name).write_bytes(_with_contract(data, raw))
                opened = load(file.name)
                for kind in _kinds(scheme) if prefix else (*_kinds(scheme), "held"):
                    some = items[kind][:SLOW] if scheme.endswith("int16x8") else items[kind]
                    found[f"{prefix}{kind}"] = opened.scores(some)
    except Exception as e:
        print(f"{path.parent.name} {path.stem} does not run: {str(e)[:120]}", file=sys.stderr)
        if "+" in path.stem and path.stem.endswith("+"):
            traceback.print_exc()
        return
    np.savez(path, **found)


def _kinds(scheme: str) -> tuple[str, ...]:
    """The items of proofs: `convert` calibrates on data only, and such files are never verified on seeded items."""
    return ("data",) if SCHEMES[scheme].calibrated else ("data", "seeded")


def _with_contract(data: bytes, contract: Contract) -> bytes:
    import onnx

    if data[4:8] == b"TFL3":
        return tflite_with_contract(data, contract)
    return bytes(onnx_with_contract(onnx.load_from_string(data), contract).SerializeToString())
