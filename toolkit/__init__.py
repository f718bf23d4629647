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
    from edgepress.toolkit.conversion.convert import Hints, convert
    from edgepress.toolkit.conversion.inspection import annotate, inspect
    from edgepress.toolkit.data import open_data
    from edgepress.toolkit.demonstration import demo
    from edgepress.toolkit.diagnosis.accuracy.diagnose import diagnose_accuracy
    from edgepress.toolkit.diagnosis.engines.diagnose import diagnose_engines
    from edgepress.toolkit.diagnosis.profiling.profile import profile
    from edgepress.toolkit.diagnosis.speed.diagnose import diagnose
    from edgepress.toolkit.improvement.improving.improve import improve
    from edgepress.toolkit.measurement.benchmarking.benchmark import benchmark
    from edgepress.toolkit.measurement.benchmarking.options import BenchmarkOptions
    from edgepress.toolkit.measurement.calibrating.calibrate import calibrate
    from edgepress.toolkit.measurement.calibrating.streams import calibrate_stream
    from edgepress.toolkit.measurement.comparison.compare import compare
    from edgepress.toolkit.measurement.evaluation import evaluate
    from edgepress.toolkit.measurement.prediction import predict
    from edgepress.toolkit.measurement.streams import evaluate_stream
    from edgepress.toolkit.reports.report import report
    from edgepress.toolkit.search.compression.compress import compress
    from edgepress.toolkit.search.sweeping.sweep import sweep
    from edgepress.toolkit.shipping.bundles.build import bundle
    from edgepress.toolkit.shipping.bundles.verify import verify
    from edgepress.toolkit.shipping.exporting.export import export
    from edgepress.toolkit.shipping.publishing.publish import publish
    from edgepress.toolkit.training.graphs.prune import prune
    from edgepress.toolkit.training.graphs.tune import tune
    from edgepress.toolkit.training.loop import train

_MODULES = {
    "BenchmarkOptions": "measurement.benchmarking.options",
    "Hints": "conversion.convert",
    "annotate": "conversion.inspection",
    "benchmark": "measurement.benchmarking.benchmark",
    "bundle": "shipping.bundles.build",
    "calibrate": "measurement.calibrating.calibrate",
    "calibrate_stream": "measurement.calibrating.streams",
    "compare": "measurement.comparison.compare",
    "compress": "search.compression.compress",
    "convert": "conversion.convert",
    "demo": "demonstration",
    "diagnose": "diagnosis.speed.diagnose",
    "diagnose_accuracy": "diagnosis.accuracy.diagnose",
    "diagnose_engines": "diagnosis.engines.diagnose",
    "evaluate": "measurement.evaluation",
    "evaluate_stream": "measurement.streams",
    "export": "shipping.exporting.export",
    "improve": "improvement.improving.improve",
    "inspect": "conversion.inspection",
    "open_data": "data",
    "predict": "measurement.prediction",
    "profile": "diagnosis.profiling.profile",
    "prune": "training.graphs.prune",
    "publish": "shipping.publishing.publish",
    "report": "reports.report",
    "sweep": "search.sweeping.sweep",
    "train": "training.loop",
    "tune": "training.graphs.tune",
    "verify": "shipping.bundles.verify",
}
"""The module of each public name."""

__all__ = [
    "BenchmarkOptions",
    "Hints",
    "annotate",
    "benchmark",
    "bundle",
    "calibrate",
    "calibrate_stream",
    "compare",
    "compress",
    "convert",
    "demo",
    "diagnose",
    "diagnose_accuracy",
    "diagnose_engines",
    "evaluate",
    "evaluate_stream",
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
