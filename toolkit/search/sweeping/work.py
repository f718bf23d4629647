"""What the jobs of a sweep do: train a model, convert it to one scheme and test the file, time the file."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.converters.files import sha256_of_file, whole_file
from edgepress.runtime.decisions import same_answers
from edgepress.runtime.filetypes import VARIANTS
from edgepress.toolkit.data import open_data
from edgepress.toolkit.data.reading import Reading
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.errors import EdgepressError, SweepError
from edgepress.toolkit.results.figures import pack
from edgepress.toolkit.search.sweeping.jobs import Job, Made
from edgepress.toolkit.search.sweeping.store import Entry
from edgepress.toolkit.training import checkpoint

READING = ("size", "color", "resize", "skip_unreadable", "group", "window", "step", "label_column")
"""Arguments of a training job that say how its data are opened."""


def train(job: Job, inputs: Mapping[str, Entry], folder: Path) -> Made:
    """Train a model: arguments of `train`, of `READING`, and "data", the hash of the data set.

    The context names the data set, "data", perhaps the file "weights", whose hash is the argument, and perhaps a
    "checkpoint" of the same run to go on from. An attempt that was killed goes on after its last epoch.
    """
    from edgepress.toolkit.training.loop import train as work

    options = training_options(job)
    data = open_job_data(job)
    continue_from(job.context.get("checkpoint"), folder / "run")
    trained = work(data, out=folder / "run", resume=True, progress=False, **options)
    metrics = dict(trained.metrics)
    result = {name: metrics[name] for name in ("accuracy", "parameters", "best_epoch", "epochs_run")}
    result |= {"val_accuracy": metrics["val"]["accuracy"], "weights_sha256": _weights(trained.model)}
    result["history"] = [{k: v for k, v in row.items() if k != "seconds"} for row in trained.history]
    files = {name: trained.model.with_name(name) for name in ("model.keras", "metrics.json")}
    return Made(result, files, {"training_seconds": metrics["seconds"]})


def training_options(job: Job) -> dict[str, Any]:
    """The arguments of a training job that are those of `train`, after the file of its weights was checked."""
    options = {name: value for name, value in job.arguments.items() if name not in ("data", "until", *READING)}
    if path := job.context.get("weights"):
        if sha256_of_file(Path(path)) != options["weights"]:
            raise SweepError(f"The weights in {path} are not those that the sweep was planned for.", "Start it again.")
        options["weights"] = path
    return options


def continue_from(path: str | None, folder: Path) -> None:
    """Begin a run with a checkpoint, unless it has one or the file is on another machine; the weights are the same."""
    if path and Path(path).is_file() and not (folder / checkpoint.NAME).exists():
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(folder / checkpoint.NAME) as temporary:
            shutil.copyfile(path, temporary)


def convert(job: Job, inputs: Mapping[str, Entry], folder: Path) -> Made:
    """Convert the model that it needs, "model", to one scheme, and test the file on the validation and test items.

    Arguments: "scheme", "data" (the hash), and those of `convert` that there are. The context names the data, "data".
    """
    from edgepress.toolkit.conversion.convert import convert as work

    scheme = job.arguments["scheme"]
    source = str(job.context["data"])
    options = {
        name: value for name, value in job.arguments.items() if name not in ("scheme", "data", "skip_unreadable")
    }
    skip = bool(job.arguments.get("skip_unreadable"))
    model = inputs["model"].files["model.keras"]
    (variant,) = work(model, scheme, data=source, out=folder / VARIANTS, skip_unreadable=skip, **options)
    if variant.path is None:
        raise SweepError(variant.error, variant.hint)
    proof = dataclasses.asdict(variant.verification) if variant.verification else None
    result = {"scheme": scheme, "file": variant.path.name, "size_bytes": variant.size_bytes, "proof": proof}
    result |= _test_file(variant.path, job) | {"notes": list(variant.notes)}
    return Made(result, {variant.path.name: variant.path}, {"converting_seconds": round(variant.seconds, 3)})


def time(job: Job, inputs: Mapping[str, Entry], folder: Path) -> Made:
    """Time the file that it needs, "file", on its engine: arguments "threads", "rounds", and "on", the machine.

    Every file of a sweep is timed alone, in processes of its own and in rounds, as `benchmark` does.
    """
    from edgepress.toolkit.data.for_model import contract_of
    from edgepress.toolkit.machine.host import choose_cpus
    from edgepress.toolkit.measurement.benchmarking.options import BenchmarkOptions
    from edgepress.toolkit.measurement.benchmarking.quiet import Watch
    from edgepress.toolkit.measurement.benchmarking.timing import ITEMS, latency_figures, time_candidates
    from edgepress.toolkit.workers.opening import Candidate, Opening

    entry = inputs["file"]
    path = entry.files[entry.result["file"]]
    contract = contract_of(path)
    threads = int(job.arguments["threads"])
    rng = np.random.default_rng(0)
    shape = (ITEMS, *contract.input.shape)
    items = rng.integers(0, 256, shape, np.uint8) if contract.input.is_image else rng.normal(size=shape)
    options = BenchmarkOptions(rounds=int(job.arguments["rounds"]))
    candidate = Candidate(path, entry.result["engine"], threads)
    opening = Opening(candidate, contract.labels, contract.input, choose_cpus(threads))
    watch = Watch(choose_cpus(threads))
    (timing,) = time_candidates([opening], items.astype(contract.input.dtype), watch, options)
    if isinstance(timing, EdgepressError):
        raise timing
    figures = dataclasses.asdict(latency_figures(timing, None))
    noise = watch.noise(timing.medians.tolist())
    kept = ("load_ms", "min_us", "p50_us", "p90_us", "p99_us", "rounds", "round_medians_us", "memory_bytes")
    result = {name: figures[name] for name in kept}
    return Made(result | {"noisy": noise.noisy, "noise": list(noise.reasons), "engine": candidate.engine})


def open_job_data(job: Job, source: str | None = None) -> DataSet:
    """The data set of a job, if it is still the one that the sweep was planned for."""
    arguments = dict(job.arguments)
    options = {name: arguments[name] for name in READING if arguments.get(name) is not None}
    source = str(job.context["data"])
    size = options.get("size")
    data = open_data(source, **options | ({"size": tuple(size) if isinstance(size, list) else size} if size else {}))
    if data.sha256 != arguments["data"]:
        raise SweepError(f"The data in {source} are not those that the sweep was planned for.", "Start it again.")
    return data


def _test_file(path: Path, job: Job) -> dict[str, Any]:
    """Accuracy of a file on validation and test items, its engine, and the hash of its answers to the latter."""
    from edgepress.toolkit.data.for_model import contract_of, data_for
    from edgepress.toolkit.measurement.benchmarking.collect import collect_answers
    from edgepress.toolkit.workers.opening import Candidate

    reading = Reading(skip_unreadable=bool(job.arguments.get("skip_unreadable")))
    data, _ = data_for(contract_of(path), str(job.context["data"]), where=path, reading=reading)
    if data.sha256 != job.arguments["data"]:
        raise SweepError(f"The data in {data.source} are not those that the sweep was planned for.", "Start it again.")
    result: dict[str, Any] = {}
    for name, part in (("val_accuracy", data.tested_on("val")), ("accuracy", data)):
        if not len(part.test):
            hint = "Give data that can be trained with: every class in each split."
            raise SweepError(f"{data.source} has no {part.tested} items, so {path.name} can't be judged.", hint)
        (answers,) = collect_answers([Candidate(path, None)], part, jobs=1)
        if isinstance(answers, EdgepressError):
            raise answers
        correct = same_answers(answers.predicted, part.test.y)
        result[name] = float(np.mean(correct))
        result |= {"val_correct": pack(correct)} if name == "val_accuracy" else {}
        result["engine"] = answers.engine
        result["answers_sha256"] = hashlib.sha256(answers.predicted.astype("<i8").tobytes()).hexdigest()
    return result | {"test_items": len(data.test)}


def _weights(path: Path) -> str:
    """The SHA-256 of a model's weights: the file itself holds the time at which it was saved."""
    from edgepress.converters.sources.keras import load_keras

    digest = hashlib.sha256()
    for array in load_keras(path).get_weights():
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
