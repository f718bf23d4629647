"""A made-up benchmark with every field filled, for the report's tests and its measurement; no figure in it is real."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from typing import Any

import numpy as np

from edgepress.converters.schemes import SCHEMES
from edgepress.toolkit.columns import ACCEPTED, ACCEPTED_ERROR
from edgepress.toolkit.measurement.benchmarking.accuracy import in_words
from edgepress.toolkit.results.figures import ClassChange, OperationTime
from edgepress.toolkit.results.records import (
    DROP,
    UNPROVEN,
    USABLE,
    Advice,
    Benchmark,
    BestEngine,
    Ceiling,
    Disagreement,
    Measurement,
    Noise,
)
from edgepress.toolkit.results.remarks.facts import Remark
from edgepress.toolkit.stats.intervals import Interval
from edgepress.toolkit.stats.samples import share_interval

FIGURES = {
    "float32": (4, 0.0, 1.0),
    "float16": (2, 0.02, 0.97),
    "dynamic": (1.1, 0.35, 1.4),
    "int8": (1.15, 0.12, 2.3),
    "int16x8": (1.2, 0.05, 0.09),
}
"""Bytes of a weight, accuracy drop in percentage points, and speed relative to float32, by precision."""
ENGINES = ("litert", "onnxruntime", "openvino")
HOST = {
    "name": "bench",
    "cpu": "Example CPU 9000",
    "machine": "x86_64",
    "cores": 8,
    "memory_bytes": 32_000_000_000,
    "os": "Debian GNU/Linux 13",
    "python": "3.11.7",
    "engines": {"litert": "2.3.0", "onnxruntime": "1.32.0", "openvino": "2026.3"},
    "load_1min": 0.2,
}
BOARD = HOST | {"name": "pi5", "cpu": "Raspberry Pi 5 Model B Rev 1.0", "machine": "aarch64", "cores": 4}
COUNT = 2000


def made_up_benchmark(*, classes: int = 10, boards: bool = False, weights: int = 62_000) -> Benchmark:
    """Nine schemes on three engines, and on a board too if asked for, with plausible figures.

    Args:
        classes: Number of classes.
        boards: Whether a second host was measured.
        weights: Number of weights of the net.
    """
    rng = np.random.default_rng(7)
    labels = [f"class {n}" for n in range(classes)]
    schemes = [name for name, scheme in SCHEMES.items() if scheme.precision in FIGURES]
    rows = [_row(rng, scheme, engine, labels, weights) for scheme in schemes for engine in ENGINES]
    rows[0] = replace(rows[0], drop_pp=0.0, drop_low_pp=0.0, drop_high_pp=0.0, agreement=1.0, verdict="", status=USABLE)
    if boards:
        rows += [_on_board(r, rng) for r in rows]
    best = next(r for r in rows if r.scheme == "tflite-int8")
    why = (
        "model-int8.tflite on litert is the smallest of 9 files whose accuracy drop is proven to stay within 1 pp: "
        f"0.12 pp [-0.31, 0.55] on {COUNT} test images. Not beyond doubt slower or faster than model-int8.tflite on "
        "openvino. An x86 figure says little of a Raspberry Pi: time it there, too."
    )
    return Benchmark(
        host=HOST,
        boards=(BOARD,) if boards else (),
        data={"source": "photos", "sha256": "ab" * 32, "split": "test", "count": COUNT, "labels": labels},
        baseline={"file": rows[0].file, "scheme": rows[0].scheme, "engine": rows[0].engine},
        keras_accuracy=0.9312,
        max_drop_pp=1.0,
        results=tuple(rows),
        advice=Advice(ship=best.file, engine=best.engine, why=why),
        best_engines=tuple(
            BestEngine(
                file=r.file, engine="litert", beyond_doubt=n % 2 == 0, slower={"onnxruntime": 1.41, "openvino": 1.02}
            )
            for n, r in enumerate(rows[:27:3])
        ),
        notes=("tflite-runtime has fast int8 kernels for ARM, but not for x86.",),
        noise=Noise(
            noisy=True,
            reasons=("Other processes took 14 % of the CPUs' time.", "The baseline's rounds spread by 9 %."),
            load_1min=1.7,
            busy_share=0.14,
            steal_share=0.01,
            frequency_mhz=(1800.0, 3600.0),
            spread=0.09,
            cpus=(2,),
        ),
        ceiling=Ceiling(
            float32_macs_per_s=5.1e10,
            int8_macs_per_s=1.9e11,
            memory_bytes_per_s=1.4e10,
            kernels={
                "float32_macs_per_s": "numpy matmul, 1024 x 1024, float32",
                "int8_macs_per_s": "ONNX Runtime MatMulInteger, 1024 x 1024",
                "memory_bytes_per_s": "numpy sum over 256 MB",
            },
        ),
        remarks=(
            Remark(
                kind="still improving",
                text="Accuracy still rose in the second half of 3 epochs, so a longer training gains more.",
                command=f"edgepress train --data {'photos/' * 20} --arch mobilenet-v2 --out runs/{'longer-' * 20}",
            ),
        ),
        disagreements=tuple(_disagreement(rng, n, labels) for n in range(24)),
        provenance={
            "created": "2026-11-25T04:10:00Z",
            "command": "edgepress benchmark runs/photos/variants --rounds 40",
            "edgepress": "0.1.0",
            "tools": {"numpy": "2.4.0", "ai-edge-litert": "2.3.0", "onnxruntime": "1.32.0"},
            "contract": {"task": "softmax", "arch": "mobilenet-v2", "parent_sha256": "cd" * 32, "labels": labels[:3]},
        },
    )


def _accepted(accuracy: float) -> dict[str, Any]:
    """What a calibrated file accepts: nine in ten, with a tenth of the errors."""
    coverage = np.linspace(0.025, 1, 40)
    risk = (1 - accuracy) * coverage**22
    count, wrong = round(0.9 * COUNT), round(0.9 * COUNT * (1 - accuracy) / 10)
    share, error = share_interval(count, COUNT), share_interval(wrong, count)
    return {
        "accepted": count,
        "accepted_wrong": wrong,
        **dict(zip(ACCEPTED, (share.estimate, share.low, share.high), strict=True)),
        **dict(zip(ACCEPTED_ERROR, (error.estimate, error.low, error.high), strict=True)),
        "coverage": tuple(coverage.tolist()),
        "risk": tuple(risk.tolist()),
    }


def _row(rng: Any, scheme: str, engine: str, labels: list[str], weights: int) -> Measurement:
    file_format, precision = scheme.split("-", 1)
    weight, drop, speed = FIGURES[precision]
    size = int(weights * weight) + (3_100 if file_format == "tflite" else 9_400)
    drop = round(drop + (0.9 if scheme == "onnx-dynamic" else 0) + rng.normal(0, 0.03), 2)
    half = 0.43 if precision != "float32" else 0.1
    speed *= {"litert": 1.0, "onnxruntime": 0.7, "openvino": 1.1}[engine] * rng.uniform(0.94, 1.06)
    p50 = 310.0 / speed
    spread = p50 * np.exp(rng.gamma(1.4, 0.05, 4000) - 0.06)
    quantiles = [float(q) for q in np.quantile(spread, np.linspace(0, 1, 51))]
    matrix = _confusion(rng, len(labels), 0.93 - drop / 100)
    accuracy = 0.9315 - drop / 100
    integer = precision in ("int8", "int16x8")
    macs = 11_300_000
    return Measurement(
        file=f"runs/photos/variants/model-{precision}.{file_format}",
        scheme=scheme,
        engine=engine,
        threads=1,
        size_bytes=size,
        sha256=rng.bytes(32).hex(),
        compressed_bytes=int(size * 0.91),
        size_ratio=size / (weights * 4 + 3_100),
        accuracy=accuracy,
        macro_precision=accuracy - 0.002,
        macro_recall=accuracy - 0.001,
        macro_f1=accuracy - 0.0015,
        drop_pp=drop,
        drop_low_pp=drop - half,
        drop_high_pp=drop + half,
        mcnemar_p=float(np.clip(1 - drop, 0.01, 1)),
        verdict=in_words(Interval(drop, drop - half, drop + half)),
        ece=0.021 + abs(drop) / 100,
        agreement=0.998 - abs(drop) / 100,
        per_class=tuple(_class(rng, label) for label in labels),
        confusion_matrix=matrix if len(labels) <= 100 else (),
        **_accepted(accuracy),
        load_ms=float(rng.uniform(1, 5)),
        first_us=p50 * 1.8,
        warmup=12.0,
        min_us=quantiles[0],
        p50_us=quantiles[25],
        p90_us=quantiles[45],
        p99_us=quantiles[49] * 1.1,
        count=4000,
        rounds=40,
        latency_quantiles_us=tuple(quantiles),
        speedup=speed,
        speedup_low=speed * 0.97,
        speedup_high=speed * 1.03,
        memory_bytes=int(rng.uniform(4e6, 12e6)),
        macs=macs,
        macs_per_s=macs / p50 * 1e6,
        compute_share=macs / p50 * 1e6 / (1.9e11 if integer else 5.1e10),
        memory_share=size / p50 * 1e6 / 1.4e10,
        profile=_profile(p50, engine),
        delegated_share=0.91 if engine == "litert" else None,
        status=USABLE if drop + half <= 1 else UNPROVEN if drop <= 1 else DROP,
    )


def _profile(p50: float, engine: str) -> tuple[OperationTime, ...]:
    if engine == "openvino":
        return ()
    shares = {
        "CONV_2D": 0.52,
        "DEPTHWISE_CONV_2D": 0.24,
        "ADD": 0.08,
        "MEAN": 0.07,
        "FULLY_CONNECTED": 0.05,
        "CAST": 0.04,
    }
    return tuple(
        OperationTime(
            operation=name,
            count=17 if "CONV" in name else 3,
            time_us=share * p50,
            share=share,
            delegated=engine == "litert" and name not in ("MEAN", "CAST"),
        )
        for name, share in shares.items()
    )


def _class(rng: Any, label: str) -> ClassChange:
    drop, half, recall = float(rng.normal(0.2, 0.9)), float(rng.uniform(0.8, 2.5)), float(rng.uniform(0.88, 0.99))
    return ClassChange(
        label=label,
        support=COUNT // 10,
        precision=recall - 0.01,
        recall=recall,
        f1=recall - 0.005,
        drop_pp=drop,
        drop_low_pp=drop - half,
        drop_high_pp=drop + half,
    )


def _confusion(rng: Any, classes: int, accuracy: float) -> tuple[tuple[int, ...], ...]:
    share = np.full((classes, classes), (1 - accuracy) / max(1, classes - 1))
    np.fill_diagonal(share, accuracy)
    return tuple(tuple(int(n) for n in rng.multinomial(COUNT // classes, row / row.sum())) for row in share)


def _disagreement(rng: Any, n: int, labels: list[str]) -> Disagreement:
    from PIL import Image

    base = rng.uniform(0, 255, (4, 4, 3)).astype("uint8")
    png = io.BytesIO()
    Image.fromarray(base).resize((64, 64), Image.Resampling.BICUBIC).save(png, "PNG")
    true, other = rng.choice(len(labels), 2, replace=False)
    return Disagreement(
        name=f"{labels[true]}/{n:04}.jpg",
        label=labels[true],
        baseline=labels[true if n % 3 else other],
        others={f"{s} on {ENGINES[n % 3]}": labels[other if n % 3 else true] for s in list(SCHEMES)[3 : 4 + n % 4]},
        png=base64.b64encode(png.getvalue()).decode(),
    )


def _on_board(row: Measurement, rng: Any) -> Measurement:
    slower = float(rng.uniform(3.5, 6)) * (0.6 if "int8" in row.scheme else 1.0)

    def by(value: float | None) -> float | None:
        return None if value is None else value * slower

    return replace(
        row,
        host=BOARD["name"],
        load_ms=by(row.load_ms),
        first_us=by(row.first_us),
        min_us=by(row.min_us),
        p50_us=by(row.p50_us),
        p90_us=by(row.p90_us),
        p99_us=by(row.p99_us),
        latency_quantiles_us=tuple(slower * q for q in row.latency_quantiles_us),
        profile=(),
        compute_share=None,
        memory_share=None,
        macs_per_s=None,
    )
