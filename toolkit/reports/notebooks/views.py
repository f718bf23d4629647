"""One function for each kind of result: its JSON document in, HTML for a notebook out.

What is not in a document is left out, so that documents of older versions are shown, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PureWindowsPath
from typing import Any
from xml.etree.ElementTree import Element

from edgepress.runtime.text import one_line
from edgepress.toolkit import text
from edgepress.toolkit.columns import (
    CONFIGURATIONS,
    DROP,
    FOOTPRINT,
    SHORT,
    STATUS,
    TRIALS,
    Column,
    filled_columns,
    quality,
    varying,
)
from edgepress.toolkit.reports.notebooks.html import (
    GRAPHIC,
    MARK,
    MAX_NAME,
    Cell,
    bar_cell,
    box,
    curves,
    element,
    span,
    table,
)

Document = Mapping[str, Any]
MAX_CLASSES = 20
"""Number of classes up to which the confusion matrix is shown."""
BARRED = ("Size", "Latency")
"""Columns whose figures have bars."""


def headings(columns: Iterable[Column]) -> list[str]:
    """The headings of figures."""
    return [f">{column.title}" for column in columns]


def figures(columns: Sequence[Column], rows: Sequence[Document]) -> list[list[Cell]]:
    """The figures of each row, those of `BARRED` with bars."""
    largest = {c: max((c.value(r) or 0 for r in rows), default=0) for c in columns if c.title in BARRED}
    return [
        [bar_cell(c.text(r), c.value(r), largest[c]) if c in largest else c.text(r) for c in columns]  # type: ignore[arg-type]
        for r in rows
    ]


def training_html(model: str, metrics: Document, history: Sequence[Document]) -> str:
    """A training run: accuracy over epochs, and the figures of each class of the test split.

    Args:
        model: Path of the model.
        metrics: The content of `metrics.json`; empty if the run is unfinished.
        history: One row per epoch, with "accuracy" and "val_accuracy".
    """
    names = {"training": "accuracy", "validation": "val_accuracy"}
    lines = {name: [row[key] for row in history] for name, key in names.items() if all(key in row for row in history)}
    plot = curves("Accuracy by epoch", lines, across="epoch")
    if not metrics:
        return box(f"Unfinished training: {text.plural(len(history), 'epoch')} so far", plot)
    title = f"{metrics['arch']}: {_score(metrics)} of {metrics['data']['source']}"
    facts = [f"{metrics['parameters']:,} parameters", f"the weights are those of epoch {metrics['best_epoch']}"]
    facts += [f"{text.plural(metrics['epochs_run'], 'epoch')} in {metrics['seconds']:.0f} s", f"model: {model}"]
    left = element("div", plot, confusion(metrics))
    figures = element("div", left, classes(metrics), cls="plots")
    return box(title, "; ".join(facts), *remarks(metrics), figures)


def remarks(document: Document) -> list[Element]:
    """What else than quantization limits the accuracy, with the next command."""
    return [
        element("p", f"{remark['text']} ", element("code", remark["command"]) if remark["command"] else None)
        for remark in document.get("remarks", ())
    ]


def evaluation_html(document: Document) -> str:
    """Accuracy of one file: the figures of each class, and which classes it takes for which."""
    title = f"{_name(document['file'])} on {document['engine']}: {_score(document)} of {document['data']['source']}"
    ece = text.number(100 * document["ece"] if document.get("ece") is not None else None)
    ece = f"Scores differ from the share of right answers by {ece} pp (expected calibration error)" if ece else ""
    return box(
        title,
        ece,
        _describe_accepted(document.get("accepted")),
        *remarks(document),
        element("div", classes(document), confusion(document), cls="plots"),
        notes=document["notes"],
    )


def _describe_accepted(accepted: Document | None) -> str:
    """How many answers a calibrated file accepts, and how many of these are wrong; empty of another file."""
    if accepted is None:
        return ""
    shares = []
    for share in (accepted["share"], accepted["error"]):
        ends = [100 * share[end] for end in ("estimate", "low", "high")] if share else []
        shares.append(f" ({text.interval(*ends)} %)" if ends else "")
    return f"{accepted['count']} answers are accepted{shares[0]}; {accepted['errors']} of these are wrong{shares[1]}"


def classes(document: Document) -> Element | None:
    """Precision, recall and F1 of each class, with bars."""
    keys = ("precision", "recall", "f1")
    rows: list[list[Cell]] = [
        [row["label"], *(bar_cell(text.percent(row[k], ".1f"), row[k], 1.0) for k in keys), str(row["support"])]
        for row in document["per_class"]
    ]
    macro = [text.percent(document[f"macro_{k}"], ".1f") for k in keys]
    rows = [*rows[:MAX_CLASSES], ["average", *macro, str(document["count"])]]
    left = len(document["per_class"]) - MAX_CLASSES
    caption = f"The first {MAX_CLASSES} of {len(document['per_class'])} classes" if left > 0 else ""
    return table(["Class", ">Precision", ">Recall", ">F1", ">Items"], rows, caption=caption, chosen=[len(rows) - 1])


def confusion(document: Document) -> Element | None:
    """The confusion matrix, darker where more items are; None of many classes."""
    labels = [one_line(row["label"], MAX_NAME) for row in document["per_class"]]
    counts = document.get("confusion_matrix") or []
    if not counts or len(labels) > MAX_CLASSES:
        return None
    red, green, blue = (int(MARK[i : i + 2], 16) for i in (1, 3, 5))
    lines = []
    for label, row in zip(labels, counts, strict=True):
        cells = []
        for n in row:
            share = n / max(1, sum(row))
            shade = f"background:rgba({red},{green},{blue},{0.1 + 0.5 * share:.2f})" if n else ""
            cells.append(element("td", str(n) if n else "·", style=shade))
        lines.append(element("tr", element("th", label, scope="row"), *cells))
    top = element("tr", *(element("th", name, scope="col") for name in ("true ↓ predicted →", *labels)))
    whole = element("table", element("thead", top), element("tbody", *lines), cls="matrix")
    return element("div", whole, cls="scroll")


def conversion_html(variants: Iterable[Document]) -> str:
    """Converted files: sizes, how far their answers are from the model's, repairs, and why one failed."""
    documents = list(variants)
    largest = max((v["size_bytes"] or 0 for v in documents), default=0)
    rows = []
    for v in documents:
        proof = v["verification"] or {}
        noise = "exact" if proof and proof.get("sqnr_db") is None else text.number(proof.get("sqnr_db"), ".0f")
        repairs = ", ".join(r["name"] for r in v["compression"].get("repairs", ()) if r["kept"])
        agreement = text.percent(proof.get("agreement"), ".1f")
        size = bar_cell(text.size(v["size_bytes"]), v["size_bytes"], largest)
        name = _name(v["file"]) if v["file"] else ""
        rows.append([v["scheme"], size, agreement, noise, repairs, f"{v['seconds']:.1f} s", name, v["error"]])
    heads = ["Scheme", ">Size", ">Same label as the model", ">SNR, dB", "Repairs kept", ">Time", "File", "Error"]
    count = sum(bool(v["file"]) for v in documents)
    title = f"{count} of {text.plural(len(documents), 'file')} made"
    return box(title, table(heads, rows, wide=["Error"]), notes=[note for v in documents for note in v["notes"]])


def benchmark_html(document: Document) -> str:
    """A benchmark: the advice, and each file's size, accuracy and latency."""
    rows = document["results"]
    advice = document["advice"]
    base = document["baseline"]
    names = _row_names(rows)
    limit = document["max_drop_pp"]
    ends = [abs(r.get(key) or 0) for r in rows for key in DROP]
    reach = min(10.0 * limit if limit else 10.0, max([2 * limit, 1.0, *ends]))
    by_error = document["data"].get("split") == "all"  # no labels: files are judged by the error of their outputs
    columns = [*varying(rows), *filled_columns(SHORT, rows)]
    lines = []
    for r, name, cells in zip(rows, names, figures(columns, rows), strict=True):
        drop = [r.get(key) for key in DROP]
        if drop[0] is not None:
            at = [c.fields for c in columns].index(DROP)
            cells[at] = element("div", element("div", text.interval(*drop)), span(*drop, reach=reach, limit=limit))
        lines.append([name, r.get("host", ""), r["engine"], *cells, STATUS.text(r)])
    ship = [n for n, r in enumerate(rows) if (r["file"], r["engine"]) == (advice["ship"], advice["engine"])][:1]
    chosen = names[ship[0]] if ship else _name(advice["ship"] or "")
    title = f"Ship {chosen} on {advice['engine']}" if chosen else "No file to ship"
    heads = ["File", "Host", "Engine", *headings(columns), STATUS.title]
    count = document["data"]["count"]
    source = document["data"]["source"]
    host = document["host"]
    place = ", ".join(str(host[key]) for key in ("cpu", "machine") if host.get(key)) or str(host.get("name", ""))
    about = f"{count} {'items' if by_error else 'test items'} of {source}; {place}"
    about += f"; compared with {base['scheme'] or _name(base['file'])} on {base['engine']}" if base else ""
    dashed = f"; the dashed lines are the limit of {limit:g} pp" if any(ends) else ""
    return box(
        title,
        advice["why"],
        *remarks(document),
        table(heads, lines, chosen=ship, wide=["Status"]),
        element("p", about, element("span", dashed, cls=GRAPHIC)),
        notes=document["notes"],
    )


IN_POINTS = {
    "macro_f1": "F1 drop, pp",
    "mean_average_precision": "mAP drop, pp",
    "accepted_share": "Accepted, pp",
    "accepted_error": "Wrong of these, pp",
}
"""Figures of multi-label answers (F1 also where a limit is on it) and of calibrated files, and their headings."""
CHANGES = {
    "accuracy": "Accuracy drop, pp",
    **IN_POINTS,
    "p50_us": "Latency",
    "size_bytes": "Size",
    "memory_bytes": "Memory",
}
"""Figures of a comparison that are shown, and their headings."""


def comparison_html(document: Document) -> str:
    """A comparison: how each figure changed, with its interval, and the limits that were kept or not."""
    verdicts = Counter(v["outcome"] for v in document["verdicts"])
    old = _name(document["old"])
    new = _name(document["new"])
    title = f"{old} → {new}" if old != new else f"{_name(document['old'], 2)} → {_name(document['new'], 2)}"
    outcome = ", ".join(f"{n} {name}" for name, n in verdicts.items()) or "No limit was given"
    rows: list[list[Cell]] = []
    known = {figure["name"] for pair in document["pairs"] for figure in pair["figures"]}
    if "mean_average_precision" not in known and not any(
        v["gate"].lower().startswith("f1") for v in document["verdicts"]
    ):
        known.discard("macro_f1")
    shown = {name: title for name, title in CHANGES.items() if name in known or name not in IN_POINTS}
    for pair in document["pairs"]:
        by_name = {figure["name"]: figure for figure in pair["figures"]}
        cells = [_change(by_name.get(name)) for name in shown]
        state = pair["state"] if pair["state"] != "both" else ""
        rows.append([pair["name"], *cells, ": ".join(filter(None, (state, pair["reason"])))])
    heads = ["File", *(f">{name}" for name in shown.values()), "State"]
    if document["stream"] is not None:
        heads, rows = _of_recordings(document["pairs"][0]["figures"])
    limits = [[v["outcome"], v["gate"], v["pair"], v["text"], v["fix"]] for v in document["verdicts"]]
    return box(
        title,
        f"{outcome}.",
        table(
            ["Limit", "Fail if", "On", "Found", "What would establish it"],
            limits,
            wide=["Found", "What would establish it"],
        ),
        table(heads, rows, caption="New against old, with 95 % intervals", wide=heads[-1:]),
        notes=document["notes"],
    )


def _of_recordings(figures: list[Document]) -> tuple[list[str], list[list[Cell]]]:
    """Heads and rows of what two models heard in the same recordings."""
    names = {"missed_share": "Missed %", "alarms_per_hour": "False alarms an hour", "delay_s": "Delay s"}
    rows: list[list[Cell]] = []
    for each in figures:
        factor = 100 if each["name"] == "missed_share" else 1
        sides = ["" if each[side] is None else f"{factor * each[side]:.2f}" for side in ("old", "new")]
        change = each["change"] or {}
        ends = text.interval(change.get("estimate"), change.get("low"), change.get("high"))
        rows.append(
            [
                names[each["name"]],
                *sides,
                ends,
                each["how"],
            ]
        )
    return ["Figure", ">Old", ">New", ">Change", "How"], rows


def compress_html(document: Document) -> str:
    """What `compress` tried, and which file keeps the limits."""
    trials = document["trials"]
    columns = [*TRIALS, *filled_columns(FOOTPRINT, trials)]
    shown = zip(trials, figures(columns, trials), strict=True)
    rows = [[t["scheme"], t["how"], *cells, t["error"]] for t, cells in shown]
    best = [n for n, t in enumerate(trials) if t["number"] == document["best"]]
    met = document["met"] and document["file"]
    title = f"{_name(document['file'])} keeps all limits" if met else "No file keeps all limits"
    heads = ["Scheme", "How", *headings(columns), "Error"]
    misses = [] if document["met"] else [miss["text"] for miss in document["misses"]]
    return box(
        title, document["why"], table(heads, rows, chosen=best, wide=["How", "Error"]), *misses, notes=document["notes"]
    )


def sweep_html(document: Document) -> str:
    """A sweep: one configuration a row, the best by validation accuracy first."""
    configurations = document["configurations"]
    names: dict[int, str] = {}
    for name, number in document["winners"].items():
        names[number] = ", ".join(filter(None, (names.get(number, ""), f"most {name}" if name == "accurate" else name)))
    points = [c["point"] for c in configurations]
    varied = {key for point in points for key in point if any(point[key] != other.get(key) for other in points)}
    rows = []
    for number, (c, cells) in enumerate(zip(configurations, figures(CONFIGURATIONS, configurations), strict=True)):
        shown = {key: value for key, value in c["point"].items() if key in varied and value is not None}
        point = ", ".join(f"{key} {_value(value)}" for key, value in shown.items())
        rows.append([point or "all", names.get(number, ""), *cells])
    failed = document["jobs"].get("failed", 0)
    title = f"{text.plural(len(configurations), 'configuration')} on {document['data']['source']}"
    heads = ["Configuration", "Best", *headings(CONFIGURATIONS)]
    return box(
        title,
        f"{text.plural(failed, 'job')} failed." if failed else "",
        table(heads, rows, chosen=names, wide=["Configuration"]),
        notes=document["notes"],
    )


def accuracy_diagnosis_html(document: Document) -> str:
    """Why a file is inaccurate: a sentence, the layers that do most harm, and what to try."""
    worst = sorted(document["layers"], key=lambda layer: -layer["cost"])[:8]
    rows = [
        [
            layer["name"],
            layer["kind"],
            bar_cell(text.percent(layer["cost"], ".0f"), layer["cost"], 1.0),
            text.percent(layer["agreement"], ".1f"),
            layer["fault"],
        ]
        for layer in worst
    ]
    accuracies = [text.percent(document[key]) for key in ("accuracy", "model_accuracy")]
    tries: list[list[Cell]] = [
        [r["text"], text.percent(r["agreement"] if r["tried"] else None, ".1f"), element("code", r["command"])]
        for r in document["fixes"]
    ]
    return box(
        f"{_name(document['file'])}: {' instead of '.join(accuracies)}",
        document["text"],
        table(["Layer", "Kind", ">Share of the error", ">Same label", "Fault"], rows, wide=["Layer"]),
        table(["What to try", ">Same label then", "Command"], tries, wide=["What to try", "Command"]),
        notes=document["notes"],
    )


def _value(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, list) else str(value)


def _score(document: Document) -> str:
    right = round(document["accuracy"] * document["count"])
    items = f"{right} of {document['count']} test items"
    return f"{quality(document, lambda share: f'{text.percent(share)} accuracy')}, {items}"


def _change(figure: Document | None) -> str:
    change = figure and figure["change"]
    if not figure or not change:
        return ""
    ends = change["estimate"], change["low"], change["high"]
    if figure["name"] == "accuracy" or figure["name"] in IN_POINTS:
        return text.interval(*ends)
    low, high = (text.times(v) for v in ends[1:])
    return text.times(ends[0]) + (f" [{low}, {high}]" if low and high and low != high else "")


def _row_names(rows: Sequence[Document]) -> list[str]:
    """Names as in the report: the scheme if only one file has it, else the file's name."""
    schemes = Counter(scheme for _, scheme in {(r["file"], r["scheme"]) for r in rows})
    return [r["scheme"] if r["scheme"] and schemes[r["scheme"]] == 1 else _name(r["file"]) for r in rows]


def _name(path: str, parts: int = 1) -> str:
    """The last parts of a path of any system."""
    return "/".join(PureWindowsPath(path).parts[-parts:]) or path
