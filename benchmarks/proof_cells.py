"""The cells of `proof_table.py`: files of each net, sound and broken, and their answers, kept in a folder."""

from __future__ import annotations

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
from edgepress.converters.files_job import FilesJob
from edgepress.converters.make_files import Done, make_files
from edgepress.converters.opening import OpenJob, open_model, opened
from edgepress.converters.proof.compare import End, seeded_items
from edgepress.converters.proof.verify import end_of, rounded_answers
from edgepress.converters.schemes import SCHEMES, Scheme
from edgepress.converters.to_onnx import interface
from edgepress.converters.to_tflite import passes
from edgepress.converters.waist import WaistJob, make_waist
from edgepress.runtime import load
from edgepress.runtime.contract import Contract

Array = npt.NDArray[np.float32]
SLOW = 64
"""Held-out items of an int16x8 file, whose kernels are slow."""
KINDS = ("data", "seeded", "held")
Cells = Iterator["Cell"]
WRONG = {"wrong input range": {"mean": (127.5,), "std": (127.5,)}, "blue first": {"bgr": True}}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A file and its answers.

    Attributes:
        subject, scheme, fault: Which file; no fault if it is sound.
        task, ends_in: Of the source model.
        source: Its answers by the kind of items, shape (N, C).
        scores: The file's answers.
        logits: Those before its last softmax or sigmoid; None if there is none.
        rounded: Answers of the source model with rounded weights; None if the scheme does not round any.
        labels: Of the held-out items, if they have any.
    """

    subject: str
    scheme: str
    fault: str
    task: str
    ends_in: str
    source: dict[str, Array]
    scores: dict[str, Array]
    logits: dict[str, Array] | None
    rounded: dict[str, Array] | None
    labels: npt.NDArray[np.int64] | None


def cells(subject: Subject, cache: Path, seeds: int) -> Iterator[Cell]:
    """Every cell of a net; those that do not run, and would be refused by any proof, are left out."""
    folder = cache / "cells" / subject.name.replace(" ", "-")
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        _make(subject, folder, seeds)
        (folder / "complete").touch()
    common = np.load(folder / "common.npz")
    labels = common.get("labels")
    source = {kind: common[kind] for kind in KINDS}
    rounded = {path.stem.partition("+")[2]: dict(np.load(path)) for path in folder.glob("rounded+*.npz")}
    for path in sorted(folder.glob("*-*+*.npz")):
        found = dict(np.load(path))
        scheme, _, fault = path.stem.partition("+")
        scores = {k: found[k] for k in KINDS if k in found}
        logits = {k: found[f"logits_{k}"] for k in scores if k != "held"} if "logits_data" in found else None
        task, ends_in = (str(common[name]) for name in ("task", "ends_in"))
        kept = {"subject": subject.name, "scheme": scheme, "fault": fault, "labels": labels}
        yield Cell(
            **kept,
            task=task,
            ends_in=ends_in,
            source=source,
            scores=scores,
            logits=logits,
            rounded=rounded.get(scheme),
        )


def _make(subject: Subject, folder: Path, seeds: int) -> None:
    reports: list[Any] = []
    open_model(OpenJob(subject.path, subject.hints), reports.append)
    facts, source = reports[0], opened()
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
    end = end_of(contract.task, facts.ends_in)
    schemes = [s for s in SCHEMES if facts.format not in ("tflite", "onnx") or s.startswith(facts.format)]
    wrong: list[tuple[str, InputAdapter]] = [("", adapter)]
    if spec.is_image:
        wrong += [("wrong input range", _with(adapter, **_other_range(adapter)))]
        wrong += [("blue first", _with(adapter, bgr=True))] if spec.color == "rgb" else []
    for scheme in (SCHEMES[name] for name in schemes):
        if scheme.rounds_weights:
            kept = {
                kind: _rounded(source, adapter, scheme, items[kind], truths[kind], end) for kind in _kinds(scheme.name)
            }
            np.savez(folder / f"rounded+{scheme.name}.npz", **{k: v for k, v in kept.items() if v is not None})
    with tempfile.TemporaryDirectory() as temporary:
        for name, used in wrong:
            some = schemes if not name else [s for s in schemes if not s.endswith("int16x8")]
            targets = {s: Path(temporary) / f"{s}.{SCHEMES[s].format}" for s in some}
            made: list[Any] = []
            batches = partial(list, [calibration])
            make_waist(WaistJob(Path(temporary), used, None, batches, wanted=("exact", "weights", "int8")), made.append)
            job = FilesJob(targets, contract, used, batches, items["data"], "x", False, made.pop())
            make_files(job, made.append)
            for report in made:
                if isinstance(report, Done) and report.variant.error:
                    print(f"{subject.name} {report.variant.scheme}: {report.variant.error}", file=sys.stderr)
                if not isinstance(report, Done) or report.variant.path is None:
                    continue
                scheme, path = report.variant.scheme, report.variant.path
                _answer(path.read_bytes(), contract, scheme, items, folder / f"{scheme}+{name}.npz")
                for fault, seed in _faults(subject.name, scheme, seeds) if not name else ():
                    changed = proof_faults.broken(path.read_bytes(), fault, seed)
                    if changed is not None:
                        _answer(changed, contract, scheme, items, folder / f"{scheme}+{fault} {seed}.npz")


def _other_range(adapter: InputAdapter) -> dict[str, Any]:
    """0-1 instead of any other range; -1 to 1 instead of that."""
    return {"mean": (127.5,), "std": (127.5,)} if adapter.std[0] == 255 else {"mean": (0.0,), "std": (255.0,)}


def _with(adapter: InputAdapter, **changes: Any) -> InputAdapter:
    import dataclasses

    return dataclasses.replace(adapter, **changes)


def _faults(name: str, scheme: str, seeds: int) -> Iterator[tuple[str, int]]:
    """Every other fault, of int16x8 every fourth; other schemes have the others."""
    start = int(hashlib.sha256(f"{name} {scheme}".encode()).hexdigest()[:6], 16)
    for i, fault in enumerate(proof_faults.FAULTS):
        for seed in range(seeds):
            if (i + start + seed) % (4 if scheme.endswith("int16x8") else 2) == 0:
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


def _rounded(source: Any, adapter: InputAdapter, scheme: Scheme, items: Any, truth: Array, end: End) -> Array | None:
    model = source.tflite(adapter) if scheme.format == "tflite" else source.onnx(adapter)
    return rounded_answers(model, scheme, items, truth, end=end)


def _with_contract(data: bytes, contract: Contract) -> bytes:
    import onnx

    if data[4:8] == b"TFL3":
        return tflite_with_contract(data, contract)
    return bytes(onnx_with_contract(onnx.load_from_string(data), contract).SerializeToString())
