"""The command `sweep`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from edgepress.toolkit import text
from edgepress.toolkit.cli import options, screen, settings
from edgepress.toolkit.cli.frame import code_of
from edgepress.toolkit.cli.record_options import option_of
from edgepress.toolkit.columns import CONFIGURATIONS, LATENCY, TEST, Column
from edgepress.toolkit.data.reading import STRICT, Reading
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.text import SIZE, TIME, parse
from edgepress.toolkit.training.batches import AUGMENTATIONS
from edgepress.toolkit.training.nets.architectures import ARCHITECTURES
from edgepress.toolkit.training.options import EPOCHS

if TYPE_CHECKING:
    from edgepress.toolkit.search.sweeping.result import Sweep
    from edgepress.toolkit.search.sweeping.sweep import MakeProposer, MakeRunner

DIMENSIONS = "Dimensions: values separated by commas"
Dimension = partial(options.Several, rich_help_panel=DIMENSIONS)
FIXED = "The same for all"
Fixed = partial(Option, rich_help_panel=FIXED)
Searched = partial(Option, rich_help_panel="Search")
Where = partial(Option, rich_help_panel="Where jobs run")
TITLES = {"accurate": "Most accurate on validation items", "fast": "Fastest of those within 1 pp of it"}
TITLES["small"] = "Smallest of those within 1 pp of it"
TITLES["recommended"] = "Recommended: sure enough to be within 1 pp of it, and best in size and latency"
MARKS = {"accurate": "most accurate", "fast": "fastest within 1 pp", "small": "smallest within 1 pp"}
"""What a configuration is called in the table that wins by a name of `sweeping.result.WINNERS`."""
SHOWN = 12
"""Most configurations in the table."""


def sweep(
    plan: Annotated[
        Path | None, Argument(help="TOML file of the plan; options replace what it says", show_default=False)
    ] = None,
    data: Annotated[str | None, Option(help=options.DATA_HELP, show_default="that of the plan")] = None,
    out: Annotated[Path, Option(help="Folder for the results")] = Path("sweep"),
    store: Annotated[
        Path | None, Option(help="Folder for the jobs' results, which sweeps may share", show_default="that of --out")
    ] = None,
    arch: Annotated[
        str | None,
        Dimension(help=f"Architectures: {', '.join(ARCHITECTURES)}", autocompletion=options.list_of(ARCHITECTURES)),
    ] = None,
    width: Annotated[str | None, Dimension(help="Multipliers of the number of channels")] = None,
    size: Annotated[str | None, Dimension(help="Image sizes, each SIDE or HEIGHTxWIDTH")] = None,
    augmentation: Annotated[
        str | None,
        Dimension(help=f"Augmentations: {', '.join(AUGMENTATIONS)}", autocompletion=options.list_of(AUGMENTATIONS)),
    ] = None,
    seeds: Annotated[
        int | None, Option(min=1, rich_help_panel=DIMENSIONS, help="Number of seeds: 3 means 0, 1 and 2")
    ] = None,
    to: Annotated[
        str | None,
        Dimension(help=f"Schemes: {options.SCHEMES_HELP}", autocompletion=options.list_of(options.MANY_SCHEMES)),
    ] = None,
    epochs: Annotated[int | None, option_of(replace(EPOCHS, show_default=True), FIXED)] = None,
    rounds: Annotated[
        int | None, Fixed(min=0, help="Rounds that each file is timed in; 0: none is timed", show_default="20")
    ] = None,
    threads: Annotated[
        int | None, Fixed(min=1, max=256, help="Threads that files are timed with", show_default="1")
    ] = None,
    reading: Reading = STRICT,
    search: Annotated[
        int | None,
        Searched(
            min=1, help="Number of combinations that Optuna chooses, instead of all", show_default="all", metavar="N"
        ),
    ] = None,
    search_seed: Annotated[int, Searched(min=0, help="Seed of its choices")] = 0,
    max_size: Annotated[
        str | None,
        Searched(metavar="SIZE", help="Largest size of a file that is wanted, such as 200kB", show_default="none"),
    ] = None,
    max_latency: Annotated[
        str | None,
        Searched(metavar="TIME", help="Largest latency that is wanted, such as 5ms or 800us", show_default="none"),
    ] = None,
    early_stopping: Annotated[
        bool, Searched("--early-stopping/--no-early-stopping", help="Stop unpromising runs early")
    ] = True,
    processes: Annotated[
        int | None, Where(min=1, help="Processes on this machine at most", show_default="one a core")
    ] = None,
    cluster: Annotated[
        str | None, Where(help="local:N starts a Dask cluster of N workers on this machine", show_default=False)
    ] = None,
    scheduler: Annotated[
        str | None, Where(help="Address of a Dask scheduler: tls://HOST:PORT, tcp://HOST:PORT", show_default=False)
    ] = None,
    tls_ca: Annotated[
        Path | None, Where(help="Certificate (PEM) of the authority of the cluster", show_default=False)
    ] = None,
    tls_cert: Annotated[Path | None, Where(help="Certificate of this client", show_default=False)] = None,
    tls_key: Annotated[Path | None, Where(help="Key of this client", show_default=False)] = None,
    insecure: Annotated[
        bool, Where("--insecure", help="Accept tcp:// to another machine: whoever reaches it can run any code")
    ] = False,
    confidence: options.Confidence = "90%",
    prefer: options.Preference = "balanced",
    json_output: options.Json = False,
) -> int:
    """Train, convert and time all combinations of architectures, sizes, seeds, schemes and others; shows the best."""
    from edgepress.toolkit.cli.sweep_view import view
    from edgepress.toolkit.search.sweeping.plan import read_plan
    from edgepress.toolkit.search.sweeping.sweep import sweep as work

    certificates = {"tls_ca": tls_ca, "tls_cert": tls_cert, "tls_key": tls_key}
    runner = runner_for(processes=processes, cluster=cluster, scheduler=scheduler, insecure=insecure, **certificates)
    tables = read_plan(plan) if plan is not None else settings.plan_tables()
    _replace(tables, "data", {"source": data, "skip_unreadable": reading.skip_unreadable or None})
    lists = {"arch": arch, "width": width, "size": size, "augmentation": augmentation, "to": to}
    dimensions: dict[str, Any] = {name: _split_values(value) for name, value in lists.items()}
    _replace(tables, "dimensions", dimensions | {"seeds": seeds})
    _replace(tables, "training", {"epochs": epochs})
    _replace(tables, "timing", {"rounds": rounds, "threads": threads})
    showing: AbstractContextManager[Any] = view()
    with showing as events:
        result = work(
            tables,
            out,
            store=store,
            runner=runner,
            proposer=proposer_for(
                search, store or out, seed=search_seed, limits=(max_size, max_latency), early_stopping=early_stopping
            ),
            machine=f"the timing workers of {scheduler}" if scheduler else None,
            confidence=confidence,
            prefer=prefer,
            command=settings.command_line(),
            on_note=screen.note,
            on_begin=events.begin,
            on_event=events.event,
        )
    if json_output:
        screen.document(result.to_dict())
    else:
        _show(result, out)
    return code_of(row.status == "ok" for row in result.rows if row.status in ("ok", "failed"))


def runner_for(*, processes: int | None, **cluster: Any) -> MakeRunner:
    """What the jobs are done by, as the options say; `cluster` has the arguments of `cluster_options.Where.of`."""
    from edgepress.toolkit.search.sweeping.proposals import import_extra
    from edgepress.toolkit.search.sweeping.runners import LocalRunner

    if any(value not in (None, False) for value in cluster.values()):  # an empty address is a mistake, too
        from edgepress.toolkit.search.cluster.cluster import ClusterRunner
        from edgepress.toolkit.search.cluster.setup import Where

        if processes is not None:
            raise InputError("A cluster has workers instead of processes.", "Leave out --processes.")
        where = Where.of(**cluster)
        import_extra("distributed", "A sweep on a cluster")  # before a folder is made
        return partial(ClusterRunner, where=where)

    return partial(LocalRunner, processes=processes)


def proposer_for(
    count: int | None, store: Path, *, seed: int, limits: tuple[str | None, str | None], early_stopping: bool
) -> MakeProposer:
    """What proposes the combinations, as the options say: the grid of all, or a search."""
    from edgepress.toolkit.search.sweeping.proposals import CostLimits, import_extra
    from edgepress.toolkit.search.sweeping.search import Search
    from edgepress.toolkit.search.sweeping.space import Grid
    from edgepress.toolkit.search.sweeping.store import Store

    if count is None:
        if limits != (None, None):
            raise InputError("--max-size and --max-latency are limits of a search.", "Add --search N.")
        return Grid
    import_extra("optuna", "A search")  # before a folder is made
    size = parse("--max-size", limits[0], SIZE)
    latency = parse("--max-latency", limits[1], TIME)
    options: dict[str, Any] = {"seed": seed, "limits": CostLimits(size, latency), "early_stopping": early_stopping}
    return lambda space: Search(space, Store(store), count, **options)


def _replace(tables: dict[str, Any], name: str, values: dict[str, Any]) -> None:
    """Put options in place of what the plan says; None was not given. The plan wins over edgepress.toml."""
    table = tables.setdefault(name, {})
    if not isinstance(table, dict):  # `plan_of` says what is wrong
        return
    for key, value in values.items():
        same = [k for k in ("seed", "seeds") if k in table] if key == "seeds" else [k for k in (key,) if k in table]
        if value is not None and not (same and settings.is_from_file("data" if key == "source" else key)):
            for old in same:
                del table[old]
            table[key] = value


def _split_values(value: str | None) -> list[str] | None:
    """The values of an option, which are separated by commas."""
    if value is None:
        return None
    words = [word.strip() for word in value.split(",")]
    if not all(words):
        raise InputError(f"The list {value!r} has an empty entry.", "Separate values by single commas.")
    return words


def _show(result: Sweep, out: Path) -> None:
    """Print the best configurations, the winners, what failed, and what to do next."""
    from edgepress.toolkit.reports.sweep_view import about_seeds

    names = _varying_dimensions(result)
    timed = any(c.latency_us is not None for c in result.configurations)
    figures = [column for column in CONFIGURATIONS if timed or column is not LATENCY]
    columns = [*((name, "left") for name in names), *((column.title, "right") for column in figures), ("", "left")]
    screen.say(about_seeds(result))
    rows = [_line(result, number, names, figures) for number in range(min(SHOWN, len(result.configurations)))]
    screen.show(screen.table(columns, rows))
    if (more := len(result.configurations) - SHOWN) > 0:
        screen.say(f"{text.plural(more, 'more configuration')} in {out / 'sweep.json'}")
    failed = [row for row in result.rows if row.status == "failed"]
    for message in dict.fromkeys(row.error for row in failed):
        count = sum(row.error == message for row in failed)
        screen.note(f"{text.plural(count, 'file')} failed: {message}")
    for name, number in result.winners.items():
        if name == "accurate" or number != result.winners["accurate"]:
            winner = result.rows[result.configurations[number].best]
            seed = "" if winner.point.get("seed") is None else f", of seed {winner.point['seed']}"
            screen.say(f"{TITLES[name]}: {out / name}{Path(str(winner.file)).suffix}{seed}", style="bold")
    screen.next_command(shell_line("edgepress", "report", out))


def _varying_dimensions(result: Sweep) -> list[str]:
    """The dimensions that differ between configurations, or the architecture where none does."""
    points = [c.point for c in result.configurations]
    return [name for name in points[0] if any(p[name] != points[0][name] for p in points)] or ["arch"]


def _line(result: Sweep, number: int, names: list[str], figures: list[Column]) -> list[str]:
    c = result.configurations[number]
    marks = [MARKS.get(name, name) for name, winner in result.winners.items() if winner == number]
    shown = [column.text(c) if marks or column is not TEST else "" for column in figures]
    points = [_value(c.point[name]) for name in names]
    return [*points, *shown, ", ".join([*marks, *(["front"] if c.on_front else [])])]


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "x".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else "" if value is None else str(value)
