"""The command `benchmark`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from edgepress.converters.contract.hints import Hints
from edgepress.converters.files import require_folder
from edgepress.converters.schemes import BASELINES, SCHEMES
from edgepress.toolkit.cli import options, screen, settings
from edgepress.toolkit.cli.frame import code_of
from edgepress.toolkit.data.reading import STRICT, Reading
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.measurement.benchmarking.options import AS_USUAL, BenchmarkOptions

if TYPE_CHECKING:
    from edgepress.toolkit.results.records import Benchmark

PHASES = {"accuracy": "Checking accuracy", "latency": "Timing", "profile": "Profiling"}


@options.with_model_hints
def benchmark(
    files: Annotated[list[Path], Argument(help=".tflite and .onnx files, or one folder of them or of a run")],
    hints: Hints,
    data: options.Data = None,
    how: BenchmarkOptions = AS_USUAL,
    out: Annotated[Path | None, Option(help="Folder for the results", show_default="the folder of the files")] = None,
    reading: Reading = STRICT,
    json_output: options.Json = False,
) -> int:
    """Measure size, latency and accuracy of files side by side, and recommend which one to ship.

    Files without labels (task none) are compared by the error of their outputs; their data need no labels.
    """
    from edgepress.toolkit.documents import default_cache
    from edgepress.toolkit.measurement.benchmarking.benchmark import benchmark as work
    from edgepress.toolkit.measurement.benchmarking.benchmark import write_benchmark
    from edgepress.toolkit.measurement.benchmarking.more import TO_LABEL
    from edgepress.toolkit.measurement.benchmarking.plan import folder_of

    folder = out or folder_of(files)
    require_folder(folder)
    if how.more is not None and how.differences is None:
        how = replace(how, differences=folder / TO_LABEL)
    how = replace(how, cache=default_cache(), command=settings.command_line())
    with screen.progress(PHASES) as on_progress:
        result = work(files, data=data, hints=hints, options=how, on_progress=on_progress)
    paths = write_benchmark(result, folder)
    screen.note(*result.notes)
    if json_output:
        screen.document(result.to_dict())
    else:
        show_benchmark(result)
        screen.say(f"Written: {', '.join(str(p) for p in paths)}")
        screen.next_command(next_line(result, folder, reading.words))
    if any(r.failed for r in result.results):
        return code_of(not r.failed for r in result.results)
    return 3 if how.max_drop is not None and result.advice.ship is None else 0


def next_line(result: Benchmark, folder: Path, reading: Sequence[str] = ()) -> str:
    """The one command that makes sense after a benchmark: a report, or, without a baseline, the file that makes one."""
    from edgepress.toolkit.results.run_files import run_model

    if result.baseline is not None:
        return shell_line("edgepress", "report", folder)
    place = Path(result.results[0].file).parent
    formats = {SCHEMES[r.scheme].format for r in result.results if r.scheme in SCHEMES}
    scheme = next((name for name in BASELINES if SCHEMES[name].format in formats), BASELINES[0])
    model = run_model(place.parent) or "MODEL"
    return shell_line("edgepress", "convert", model, "--to", scheme, "--out", place, *reading)


def _show_remarks(result: Benchmark) -> None:
    """Print the remarks; of those that the training made, too, only which they are."""
    from edgepress.toolkit.measurement.benchmarking.remarks import remarked_in_training

    known = remarked_in_training(Path(result.baseline["file"])) if result.baseline else ()
    screen.remarks(remark.to_dict() for remark in result.remarks if remark.kind not in known)
    if repeated := [remark.kind for remark in result.remarks if remark.kind in known]:
        screen.say(f"Remarks of the training that hold here, too: {', '.join(repeated)}.")


def show_benchmark(result: Benchmark) -> None:
    """Print a benchmark: its table, failures, the advice, and the best engine of each file."""
    from edgepress.toolkit.cli.tables import benchmark_table, best_engine_lines
    from edgepress.toolkit.machine.host import host_title

    items = "items" if result.by_error else "test items"
    about = [f"{result.data['count']} {items} of {result.data['source']}", host_title(result.host)]
    for name in ("threads", "batch"):
        numbers = {getattr(r, name) for r in result.results}
        about += [f"{name} {n}" for n in numbers if len(numbers) == 1]
    screen.say(", ".join(about))
    table = benchmark_table(result)
    screen.show(table)
    base = result.baseline or {}
    baseline = (
        f"the baseline, {base['scheme'] or Path(base['file']).name} on {base['engine']}" if base else "the baseline"
    )
    meanings = {
        "SQNR": f"Errors and SQNR: of the outputs, relative to those of {baseline}.",
        "mAP, %": "Exact match, mean F1 and mAP: ± half of their 95 % confidence intervals.",
        "Drop, pp": f"Drop: relative to {baseline}, with the upper end (≤) of its 95 % confidence interval.",
        "Speed-up": f"Speed-up: relative to {baseline}, ± half of its 95 % confidence interval.",
        "Status": f"Status: how sure it is that a file loses less than {result.max_drop_pp:g} pp; proven if the whole "
        "interval is below.",
    }
    if result.by_error:
        del meanings["Status"]
    shown = screen.titles_of(table)
    for text in (meaning for name, meaning in meanings.items() if name in shown):
        screen.say(text)
    if result.noise is not None and not result.noise.noisy:
        screen.say("The host was quiet during timing.")
    for r in result.results:
        if r.failed:
            screen.say(f"{r.file}{f' on {r.engine}' if r.engine else ''} {r.status}", style="red")
    if result.keras_accuracy is not None:
        screen.say(f"The source model itself: {100 * result.keras_accuracy:.2f} % on its own test split.")
    screen.say()
    screen.say(f"Ship: {result.advice.ship or 'none'}", style="bold green" if result.advice.ship else "bold red")
    screen.say(result.advice.why)
    _show_remarks(result)
    if result.best_engines:
        screen.say()
        screen.say("Best engine for each file on this host:", style="bold")
        for text in best_engine_lines(result):
            screen.say(f"  {text}")
