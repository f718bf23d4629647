"""Results as a web page, Markdown or a model card: `report`, with the section of a search by `compress`.

    edgepress report runs/a/variants                     runs/a/variants/report.html, one file that needs no network
    edgepress report runs/a/variants --format md         for a README or a pull request
    edgepress report runs/a/variants --format card       README.md of a Hugging Face model repository
    edgepress report result.json                         result.html, of a result of evaluate --stream --json

The figures are those of `benchmark.json`; a figure that was not measured is left out, never shown as zero. Limit: the
page draws its plots with JavaScript; without it, it shows all tables except those of the section "A closer look".
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from edgepress.converters.files import write_text
from edgepress.toolkit.documents import read_json
from edgepress.toolkit.errors import InputError, unknown
from edgepress.toolkit.results.file import first_wrong
from edgepress.toolkit.results.streams import is_stream_result, load_stream

NAME = "compress.json"
Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Figure = Annotated[float, Field(ge=0, le=1e15)]
Points = Annotated[float, Field(ge=-100, le=100)]


def _object(**fields: Any) -> type[BaseModel]:
    """A JSON object of which these fields are read; no value is turned into another type."""
    pairs: dict[str, Any] = {name: (field, ...) for name, field in fields.items()}
    return create_model("Object", __config__=ConfigDict(strict=True, extra="ignore"), **pairs)


TRIAL: Any = _object(
    number=Count,
    scheme=str,
    how=str,
    size_bytes=Count | None,
    drop_pp=Points | None,
    drop_low_pp=Points | None,
    drop_high_pp=Points | None,
    latency_us=Figure | None,
    memory_bytes=Count | None,
    seconds=Figure,
    error=str,
)
DOCUMENT: Any = _object(
    why=str,
    met=bool,
    latency_on=str,
    engine=str,
    data=_object(validation=Count),
    best=Count | None,
    trials=list[TRIAL],
    skipped=list[_object(strategy=str, why=str)],  # type: ignore[misc]
    misses=list[_object(text=str)],  # type: ignore[misc]
)
"""What the section shows of the document."""


def compress_search_of(folder: Path) -> dict[str, Any] | None:
    """What the section shows of the `compress.json` in a folder; None if there is none.

    Raises:
        InputError: It is damaged.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        document: dict[str, Any] = DOCUMENT.model_validate(read_json(path)).model_dump()
    except (OSError, ValueError) as e:  # pydantic's error is a ValueError, too
        raise InputError(f"{path} is damaged: {first_wrong(e)}.", "Run edgepress compress again, or remove it.") from e
    return document


Format = Literal["html", "md", "card"]
FORMATS: dict[Format, str] = {
    "html": "a web page",
    "md": "Markdown for a README or a pull request",
    "card": "a model card for Hugging Face",
}
PAGE = "report.html"
RESULTS = "benchmark.json"
SWEEP = "sweep.json"


@dataclass(frozen=True)
class Report:
    """A finished report.

    Attributes:
        text: The whole text.
        out: The file it was written to; None if it was not written.
    """

    text: str
    out: Path | None

    @property
    def size_bytes(self) -> int:
        """Size in UTF-8."""
        return len(self.text.encode())


def report(
    folder: str | Path,
    out: str | Path | None = None,
    *,
    old: str | Path | None = None,
    format: Format = "html",
    licence: str = "unknown",
) -> Report:
    """Write the report of a sweep, of recordings, or of a benchmark, with the search of `edgepress compress`.

    Args:
        folder: A folder that holds `benchmark.json` or `sweep.json`, or one of these files; a run's folder, too; or a
            document of `evaluate --stream --json`, whose page has its name and ends in `.html`.
        old: An earlier document of `evaluate --stream --json` about the same recordings, to be shown with that one.
        out: File to write; None writes a page to `report.html` next to the results, and no file for other formats.
        format: A name in `FORMATS`.
        licence: License of the model, as a Hugging Face identifier, for the card.

    Raises:
        InputError: The results are missing or damaged, the format is unknown, `old` is about other recordings, or
            `out` can't be written.

    Example:
        >>> from edgepress.toolkit import report
        >>> print(report("edgepress-demo", format="md").text)
    """
    from edgepress.toolkit.reports.markdown import markdown, model_card
    from edgepress.toolkit.reports.page import page
    from edgepress.toolkit.results.file import load_benchmark
    from edgepress.toolkit.results.run_files import folder_with

    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    if is_stream_result(Path(folder)):
        return _of_recordings(Path(folder), old, out, format)
    if old is not None:
        problem = f"--old is for results of evaluate --stream --json, and {folder} is none."
        raise InputError(problem, "Omit --old; to compare results of benchmarks, use edgepress compare.")
    folder = folder_with(Path(folder), RESULTS, SWEEP)
    source = folder / SWEEP if folder.is_dir() and not (folder / RESULTS).exists() else folder
    if source.name == SWEEP and source.exists():
        return _of_sweep(source, out, format)
    result = load_benchmark(folder)
    if format == "html":
        text = page(result, compress_search_of(folder if folder.is_dir() else folder.parent))
        out = out or (folder if folder.is_dir() else folder.parent) / PAGE
    else:
        text = markdown(result) if format == "md" else model_card(result, licence=licence)
    return _write(text, out)


def _of_sweep(file: Path, out: str | Path | None, format: Format) -> Report:
    from edgepress.toolkit.reports.sweep_page import sweep_page
    from edgepress.toolkit.reports.sweep_view import sweep_markdown
    from edgepress.toolkit.search.sweeping.result import load_sweep

    if format == "card":
        raise InputError("A model card is about one model, not a sweep.", "Make it of a benchmark of the winner.")
    sweep = load_sweep(file)
    if format == "html":
        return _write(sweep_page(sweep), out or file.with_name(PAGE))
    return _write(sweep_markdown(sweep), out)


def _of_recordings(file: Path, old: str | Path | None, out: str | Path | None, format: Format) -> Report:
    from edgepress.toolkit.reports.stream_page import stream_markdown, stream_page

    if format == "card":
        raise InputError(
            f"A model card needs the results of a benchmark; {file} is about recordings.", "Use html or md."
        )
    pair = load_stream(file), None if old is None else load_stream(Path(old))
    if format == "html":
        return _write(stream_page(*pair), out or file.with_name(f"{file.name.removesuffix('.json')}.html"))
    return _write(stream_markdown(*pair), out)


def _write(text: str, out: str | Path | None) -> Report:
    if out is not None:
        write_text(out, text)
    return Report(text, None if out is None else Path(out))
