"""The workstation: train an image classifier, convert, measure and choose a file of it for a small board.

    from edgepress.toolkit import benchmark, convert, train

    model = train("digits", "lenet", out="runs/digits").model
    convert(model)
    print(benchmark("runs/digits/variants").advice.why)

The functions here are the commands of `edgepress`, under the same names. Each is imported when first used, so that
importing this package loads nothing heavy. Everything else in these folders is internal and may change.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgepress.toolkit.benchmarking.benchmark import benchmark
    from edgepress.toolkit.bundles.build import bundle
    from edgepress.toolkit.bundles.verify import verify
    from edgepress.toolkit.comparison.compare import compare
    from edgepress.toolkit.conversion import convert
    from edgepress.toolkit.demonstration import demo
    from edgepress.toolkit.evaluation import evaluate
    from edgepress.toolkit.inspection import inspect
    from edgepress.toolkit.prediction import predict
    from edgepress.toolkit.profiling.profile import profile_file as profile
    from edgepress.toolkit.reports.report import report
    from edgepress.toolkit.training.loop import train

__all__ = ["benchmark", "bundle", "compare", "convert", "demo", "evaluate", "inspect", "predict", "profile"]
__all__ += ["report", "train", "verify"]

_HOMES = {
    "benchmark": ("benchmarking.benchmark", "benchmark"),
    "bundle": ("bundles.build", "bundle"),
    "compare": ("comparison.compare", "compare"),
    "convert": ("conversion", "convert"),
    "demo": ("demonstration", "demo"),
    "evaluate": ("evaluation", "evaluate"),
    "inspect": ("inspection", "inspect"),
    "predict": ("prediction", "predict"),
    "profile": ("profiling.profile", "profile_file"),
    "report": ("reports.report", "report"),
    "train": ("training.loop", "train"),
    "verify": ("bundles.verify", "verify"),
}
"""Each public function: its module in this package, and its name there."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, function = _HOMES[name]
    globals()[name] = found = getattr(import_module(f"{__name__}.{module}"), function)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
