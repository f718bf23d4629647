"""Train a classifier on the workstation, convert it, measure the files, and choose one for a small board.

    from edgepress.toolkit import benchmark, convert, train

    model = train("digits", "lenet", out="runs/digits").model
    convert(model)
    print(benchmark("runs/digits/variants"))

The functions here are the commands of `edgepress`, under the same names; `diagnose_accuracy` is `diagnose --data`,
`diagnose_engines` is `diagnose --engines`, `open_data` is `--data` with its options, such as `--size`, and `Hints` and
`BenchmarkOptions` are arguments of theirs. Notebooks and `print` show the results of `train`, `evaluate`, `convert`,
`benchmark`, `compare`, `compress`, `sweep` and `diagnose_accuracy` as tables. Each is imported when first used, so that
importing this package loads nothing heavy. Everything else in these folders is internal and may change.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgepress.toolkit.accuracy_diagnosis.diagnose import diagnose_accuracy
    from edgepress.toolkit.annotation import annotate
    from edgepress.toolkit.benchmarking.benchmark import benchmark
    from edgepress.toolkit.benchmarking.options import BenchmarkOptions
    from edgepress.toolkit.bundles.build import bundle
    from edgepress.toolkit.bundles.verify import verify
    from edgepress.toolkit.calibrating.calibrate import calibrate
    from edgepress.toolkit.comparison.compare import compare
    from edgepress.toolkit.compression.compress import compress
    from edgepress.toolkit.conversion import Hints, convert
    from edgepress.toolkit.data import open_data
    from edgepress.toolkit.demonstration import demo
    from edgepress.toolkit.engine_diagnosis.diagnose import diagnose_engines
    from edgepress.toolkit.evaluation import evaluate
    from edgepress.toolkit.exporting.export import export
    from edgepress.toolkit.improving.improve import improve
    from edgepress.toolkit.inspection import inspect
    from edgepress.toolkit.prediction import predict
    from edgepress.toolkit.profiling.profile import profile
    from edgepress.toolkit.publishing.publish import publish
    from edgepress.toolkit.reports.report import report
    from edgepress.toolkit.retraining.prune import prune
    from edgepress.toolkit.retraining.tune import tune
    from edgepress.toolkit.speed_diagnosis.diagnose import diagnose
    from edgepress.toolkit.sweeping.sweep import sweep
    from edgepress.toolkit.training.loop import train

_MODULES = {
    "BenchmarkOptions": "benchmarking.options",
    "Hints": "conversion",
    "annotate": "annotation",
    "benchmark": "benchmarking.benchmark",
    "bundle": "bundles.build",
    "calibrate": "calibrating.calibrate",
    "compare": "comparison.compare",
    "compress": "compression.compress",
    "convert": "conversion",
    "demo": "demonstration",
    "diagnose": "speed_diagnosis.diagnose",
    "diagnose_accuracy": "accuracy_diagnosis.diagnose",
    "diagnose_engines": "engine_diagnosis.diagnose",
    "evaluate": "evaluation",
    "export": "exporting.export",
    "improve": "improving.improve",
    "inspect": "inspection",
    "open_data": "data",
    "predict": "prediction",
    "profile": "profiling.profile",
    "prune": "retraining.prune",
    "publish": "publishing.publish",
    "report": "reports.report",
    "sweep": "sweeping.sweep",
    "train": "training.loop",
    "tune": "retraining.tune",
    "verify": "bundles.verify",
}
"""The module of each public name."""

__all__ = [
    "BenchmarkOptions",
    "Hints",
    "annotate",
    "benchmark",
    "bundle",
    "calibrate",
    "compare",
    "compress",
    "convert",
    "demo",
    "diagnose",
    "diagnose_accuracy",
    "diagnose_engines",
    "evaluate",
    "export",
    "improve",
    "inspect",
    "open_data",
    "predict",
    "profile",
    "prune",
    "publish",
    "report",
    "sweep",
    "train",
    "tune",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from edgepress.toolkit.arguments import check_arguments  # not for child processes, which import this package, too

    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    if not isinstance(value, type):
        value = check_arguments(value)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
