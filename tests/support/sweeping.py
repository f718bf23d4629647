"""A made-up sweep for tests and pictures of its report: what each dimension brings is known."""

import hashlib
import itertools
import json

import numpy as np

from edgepress.toolkit.search.sweeping.result import Row, Sweep
from edgepress.toolkit.search.sweeping.sweep import configurations_of, winners_of

NETS = {"dense": (0.86, 4.0, 60_000), "lenet": (0.95, 30.0, 70_000), "mobilenet-v1": (0.97, 90.0, 240_000)}
SCHEMES = {"tflite-float32": (0.0, 1.0, 1.0), "tflite-int8": (-0.002, 0.5, 0.3), "onnx-int8": (-0.003, 1.4, 0.35)}


def made_up_sweep(seeds=3, source="photos") -> Sweep:
    """Three networks, two sizes, seeds and three schemes; size 48 brings 2 pp, and costs 2.25 times as much time."""
    rng, rows = np.random.default_rng(0), []
    noise = {}
    for arch, size, seed, scheme in itertools.product(NETS, (32, 48), range(seeds), SCHEMES):
        accuracy, latency, weight = NETS[arch]
        lost, faster, smaller = SCHEMES[scheme]
        luck = noise.setdefault((arch, size, seed), 0.0005 * rng.standard_normal())
        val = accuracy + lost + luck + (0.02 if size == 48 else 0.0)
        key = hashlib.sha256(f"{arch} {size} {seed}".encode()).hexdigest()
        point = {"arch": arch, "width": 0.25 if arch == "mobilenet-v1" else None, "size": [size, size]}
        point |= {"augmentation": "affine", "seed": seed, "to": scheme}
        figures = {"val_accuracy": val, "accuracy": val - 0.004, "size_bytes": round(weight * smaller)}
        figures |= {"latency_us": latency * faster * (size / 32) ** 2, "engine": "litert", "noisy": False}
        rows.append(Row(point=point, status="ok", keys={"train": key}, model="m.keras", file="f", **figures))
    rows.append(Row(point=rows[-1].point | {"seed": 9}, status="stopped", keys={"train": "0" * 64}, epochs=2))
    configurations = configurations_of(rows)
    dimensions = {"arch": [*NETS], "size": [[32, 32], [48, 48]], "seed": [*range(seeds)], "to": [*SCHEMES]}
    plan = {
        "data": {"source": source, "color": "grey"},
        "dimensions": dimensions,
        "training": {"epochs": 8},
        "timing": {},
    }
    return Sweep(
        edgepress="0.1.0",
        command="edgepress sweep plan.toml",
        data={"source": source, "sha256": "0" * 64, "counts": {"train": 100, "val": 20, "test": 20}},
        plan=plan,
        machine="bench: CPU, 4 cores",
        jobs={"ok": 60, "failed": 0},
        rows=tuple(rows),
        configurations=configurations,
        winners=winners_of(configurations),
        notes=("lenet has no width, so it is trained without one.",),
    )


def write(sweep: Sweep, folder) -> None:
    """Write a `sweep.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sweep.json").write_text(json.dumps(sweep.to_dict()))
