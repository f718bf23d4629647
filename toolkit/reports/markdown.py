"""The report as Markdown: for a README or a pull request, and as the model card of a Hugging Face repository.

The report as a model card: the README.md of a Hugging Face model repository.

The head is YAML as the Hub reads it (https://huggingface.co/docs/hub/model-cards): license, library, tags, metrics, and
the measured accuracy as `model-index`. Texts are quoted as JSON, which is valid YAML. What a benchmark does not know,
above all the intended use, is marked for the author to write.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edgepress.runtime.text import json_text, one_line
from edgepress.toolkit import columns
from edgepress.toolkit.columns import SHORT, filled_columns, varying
from edgepress.toolkit.escaping import markdown as escaped
from edgepress.toolkit.escaping import markdown_table
from edgepress.toolkit.machine.host import host_title
from edgepress.toolkit.reports import view
from edgepress.toolkit.results.records import Benchmark, Measurement


def markdown(result: Benchmark) -> str:
    """A benchmark as Markdown."""
    parts = [
        f"**Ship: {escaped(ship_name(result))}**" if result.advice.ship else "**No file to ship.**",
        escaped(result.advice.why),
        f"<sub>{view.QUOTED}</sub>",
        table(result),
        escaped(measured_on(result)),
    ]
    return "\n\n".join([*parts, *warnings(result), *remarks(result), *diagnoses(result)]) + "\n"


def ship_name(result: Benchmark) -> str:
    """The file to ship in words: "tflite-int8 on litert"."""
    names = view.row_names(result.results)
    ship = view.shipped_row(result)
    if ship is None:
        return result.advice.ship or "none"
    return view.about(ship, next(name for r, name in zip(result.results, names, strict=True) if r is ship))


def table(result: Benchmark) -> str:
    """All files as a Markdown table; columns without figures are left out, the shipped file is bold."""
    rows = result.results
    ship = view.shipped_row(result)
    several = len(view.hosts_of(result)) > 1
    columns = [*varying(rows), *filled_columns(SHORT, rows)]
    heads = ["File", "Engine", *(["Host"] if several else []), *(f">{c.title}" for c in columns), "Status"]
    lines = []
    for r, name in zip(rows, view.row_names(rows), strict=True):
        file = f"**{escaped(name)}**" if r is ship else escaped(name)
        place = [file, escaped(r.engine), *([escaped(view.host_of(r, result))] if several else [])]
        lines.append([*place, *(c.text(r) for c in columns), escaped(view.short_status(r))])
    return markdown_table(heads, lines)


def measured_on(result: Benchmark) -> str:
    """The test items and the host."""
    items, difference = ("items", "Error") if result.by_error else ("test items", "Drop")
    text = f"{result.data['count']:,} {items} of {view.file_name(result.data['source'])}, {host_title(result.host)}."
    if result.baseline is not None:
        name = result.baseline["scheme"] or view.file_name(result.baseline["file"])
        text += (
            f" {difference} and speed-up relative to {name} on {result.baseline['engine']}; brackets: 95 % interval."
        )
    return text


def warnings(result: Benchmark) -> list[str]:
    """Notes for the reader as Markdown quotes, and failures as a list."""
    quotes = [f"> {escaped(text)}" for _, text in view.notices(result)]
    failed = [f"- {escaped(name)}: {escaped(text)}" for name, text in view.reasons(result)]
    return [*quotes, *(["\n".join(failed)] if failed else [])]


def remarks(result: Benchmark) -> list[str]:
    """What else than quantization limits the accuracy, as Markdown quotes with the next command."""
    return [
        f"> **Remark:** {escaped(r.text)}" + (f" Fix: <code>{escaped(r.command)}</code>" if r.command else "")
        for r in result.remarks
    ]


def diagnoses(result: Benchmark) -> list[str]:
    """What takes the time of each file that was profiled, as a list; empty if none was."""
    names = zip(result.results, view.row_names(result.results), strict=True)
    lines = [f"- {escaped(view.about(r, name))}: {escaped(r.diagnosis)}" for r, name in names if r.diagnosis]
    return ["What takes the time:", "\n".join(lines)] if lines else []


LIBRARIES = {"tflite": "tflite", "onnx": "onnx"}


def model_card(result: Benchmark, *, licence: str = "unknown") -> str:
    """A benchmark as a model card.

    Args:
        result: The results.
        licence: License of the model, as a Hugging Face identifier.
    """
    ship = view.shipped_row(result)
    contract = view.contract_of(result)
    name = _name(result)
    parts = [
        "\n".join(["---", *_head(result, ship, name, licence), "---"]),
        f"# {escaped(name)}",
        f"**{escaped(ship_name(result))}** is the file to run. {escaped(result.advice.why)}"
        if result.advice.ship
        else escaped(result.advice.why),
        f"<sub>{view.QUOTED}</sub>",
        "## Intended use",
        "_To be written by the author: what the model is for, for whom, and what it must not be used for._",
        "## Input and output",
        *_interface(contract, view.labels_of(result)),
        "## How to run it",
        *_usage(ship, result),
        "## Evaluation",
        table(result),
        escaped(measured_on(result)),
        *warnings(result),
        *_classes(ship),
        "## Limitations",
        f"{'Errors were' if result.by_error else 'Accuracy was'} measured on the items above and "
        f"{'hold' if result.by_error else 'holds'} for similar items. A latency holds for the machine it was "
        "measured on.",
        "## Provenance",
        "\n".join(f"- {line}" for line in _provenance(result, ship)),
    ]
    return "\n\n".join(parts) + "\n"


def _head(result: Benchmark, ship: Measurement | None, name: str, licence: str) -> Iterator[str]:
    """The lines of the YAML head."""
    files = [view.file_name(r.file) for r in ([ship] if ship else result.results)]
    formats = list(dict.fromkeys(name.rpartition(".")[2] for name in files))
    image = _is_image(result)
    yield f"license: {_quote(licence)}"
    if library := LIBRARIES.get(formats[0]):
        yield f"library_name: {library}"
    if image and not result.by_error:
        yield "pipeline_tag: image-classification"
    yield "tags:"
    schemes = [ship.scheme] if ship else []
    for tag in dict.fromkeys([*formats, *schemes, "edgepress", "quantized", "edge"]):
        yield f"- {_quote(tag)}"
    row = ship or view.baseline_row(result)
    if row is None or row.accuracy is None:
        return
    yield "metrics:"
    yield "- accuracy"
    if row.macro_f1 is not None:
        yield "- f1"
    source = view.file_name(result.data["source"])
    yield f"""model-index:
- name: {_quote(name)}
  results:
  - task:
      type: {"image-classification" if image else "tabular-classification"}
    dataset:
      type: {_quote(source)}
      name: {_quote(source)}"""
    if result.data.get("split"):
        yield f"      split: {_quote(str(result.data['split']))}"
    yield "    metrics:"
    accuracy = "Accuracy" if row.exact_match is None else "Exact match"
    figures = [("accuracy", accuracy, row.accuracy), ("f1", "Macro F1", row.macro_f1)]
    figures += [("mAP", "Mean average precision", row.mean_average_precision)]
    for kind, title, value in figures:
        if value is not None:
            yield f"    - type: {kind}\n      name: {_quote(title)}\n      value: {value:.6g}"


def _is_image(result: Benchmark) -> bool:
    return view.mapping(view.contract_of(result).get("input")).get("color", "unknown") is not None


def _name(result: Benchmark) -> str:
    """The architecture and the data: "lenet on digits"."""
    arch = view.contract_of(result).get("arch") or ("Model" if result.by_error else "Classifier")
    return f"{arch} on {view.file_name(result.data['source'])}"


def _interface(contract: Mapping[str, Any], labels: list[str]) -> Iterator[str]:
    spec = view.mapping(contract.get("input"))
    if isinstance(spec.get("shape"), (list, tuple)):
        shape = " × ".join(escaped(str(n)) for n in spec["shape"])
        what = f"raw pixels, 0 to 255, {spec['color']}" if spec.get("color") else str(spec.get("dtype", ""))
        yield f"One item is {shape}, {escaped(what)}; normalization is inside the file."
    if labels:
        shown = ", ".join(escaped(label) for label in labels[:20])
        yield f"{len(labels)} classes: {shown}{', ...' if len(labels) > 20 else ''}."


def _usage(ship: Measurement | None, result: Benchmark) -> Iterator[str]:
    if ship is None:
        yield "No file is recommended yet."
        return
    file = view.file_name(ship.file)
    call = f"{'outputs = model.outputs' if result.by_error else 'scores = model.scores'}(batch)  # of items as above"
    if _is_image(result) and not result.by_error:
        call = 'print(model.classify("photo.jpg", top=3))'
    opening = f"from edgepress.runtime import load\n\n{one_line(f'model = load({file!r}, engine={ship.engine!r})')}"
    yield f"```python\n{opening}\n{call}\n```"


def _classes(ship: Measurement | None) -> Iterator[str]:
    """Recall, precision and F1 of the shipped file by class, for up to 40 classes."""
    if ship is None or not 0 < len(ship.per_class) <= 40:
        return
    rows = [
        [escaped(c.label), f"{c.support}", *(columns.percent(v, ".1f") for v in (c.recall, c.precision, c.f1))]
        for c in ship.per_class
    ]
    yield "### By class"
    yield markdown_table(["class", ">items", ">recall", ">precision", ">F1"], rows)


def _provenance(result: Benchmark, ship: Measurement | None) -> Iterator[str]:
    known = [
        *view.origin(result).items(),
        ("SHA-256 of the file", ship.sha256 if ship else ""),
        ("SHA-256 of the data", result.data["sha256"]),
    ]
    return (f"{escaped(name)}: {escaped(value)}" for name, value in known if value)


def _quote(text: str) -> str:
    return json_text(text)
