"""What notebooks show of results: their figures, harmless whatever a class or a file is called."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import float_row, result, row
from sweeping import made_up_sweep

from edgepress.converters.variant import Variant
from edgepress.runtime.contract import Verification
from edgepress.toolkit.conversion.convert import Variants
from edgepress.toolkit.diagnosis.accuracy.result import AccuracyDiagnosis, Fix
from edgepress.toolkit.measurement.comparison.compare import compare_results
from edgepress.toolkit.measurement.comparison.gates import parse_gate
from edgepress.toolkit.measurement.comparison.judging import Comparison
from edgepress.toolkit.measurement.evaluation import Evaluation
from edgepress.toolkit.reports.notebooks import html, views
from edgepress.toolkit.results.file import load_benchmark
from edgepress.toolkit.results.records import Advice, Benchmark
from edgepress.toolkit.search.compression.compress import CompressResult
from edgepress.toolkit.stats.metrics import classification_metrics
from edgepress.toolkit.training.run_folder import TrainResult

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&\n\x00</style></td>"
TAGS = {"div", "style", "p", "code", "span", "table", "caption", "thead", "tbody", "tr", "th", "td"}
SVG = {"svg", "title", "line", "polyline", "circle", "text"}
ATTRIBUTES = {"class", "style", "scope", "role", "aria-hidden", "viewbox", "width", "height", "points", "text-anchor"}
ATTRIBUTES |= {"x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "fill"}
ATTRIBUTES |= {"stroke", "stroke-width", "stroke-opacity", "stroke-dasharray"}


class Page(HTMLParser):
    """The tags, attributes and text of a view; `balanced` is whether every tag is closed."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.open, self.balanced = set[str](), set[str](), list[str](), True
        self.texts: list[str] = []
        self.feed(source)
        self.close()
        self.balanced &= not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.balanced &= bool(self.open) and self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def metrics(*labels: str) -> dict[str, Any]:
    true = [n % len(labels) for n in range(10 * len(labels))]
    guess = [*true[:-1], 0]
    more = {"arch": "lenet", "parameters": 61706, "best_epoch": 2, "epochs_run": 3, "seconds": 4.2}
    return more | {"data": {"source": "photos"}} | classification_metrics(true, guess, labels=labels)


def trained(*labels: str) -> TrainResult:
    history = [{"epoch": n, "accuracy": 0.5 + n / 10, "val_accuracy": 0.4 + n / 10} for n in (1.0, 2.0, 3.0)]
    remark = {"text": f"{labels[-1]} is rare.", "command": f"edgepress train --data {labels[-1]}"}
    return TrainResult(Path("runs/a/model.keras"), metrics(*labels) | {"remarks": [remark]}, history)


def evaluated(*labels: str) -> Evaluation:
    about = {"file": "runs/a/m.tflite", "engine": "litert", "notes": ["It is a note."], "ece": 0.031}
    about |= {"remarks": [{"text": "The net is untrained.", "command": ""}]}
    return Evaluation(metrics(*labels) | about)


def converted(name: str) -> Variants:
    proof = Verification(
        items=9, on="digits", agreement=0.875, max_error=0.1, mean_error=0.1, largest=1.0, sqnr_db=40.0
    )
    tuning = {"repairs": [{"name": "equalization", "kept": True}, {"name": "adaround", "kept": False}]}
    made = Variant("tflite-int8", Path(f"{name}.tflite"), 75_000, 1.5, verification=proof, compression=tuning)
    failed = Variant("onnx-int8", None, None, 0.1, error=f"No calibration data in {name}.", hint="Give some.")
    return Variants([made, failed])


def benchmarked(name: str) -> Benchmark:
    advice = Advice(ship=f"{name}.tflite", engine="litert", why=f"{name} is the smallest.")
    drop = {"accuracy": 0.95, "drop_pp": 0.25, "drop_low_pp": -0.5, "drop_high_pp": 1.0, "status": "usable"}
    small = row(file=f"{name}.tflite", scheme="", size_bytes=75_000, **drop)
    found = result(float_row(accuracy=0.9525, drop_pp=0.0, status="usable"), small)
    return Benchmark(**vars(found) | {"advice": advice, "notes": (f"{name} is noted",)})


def compared(name: str) -> Comparison:
    old, new = (
        result(float_row(), row(engine=name, right=[True] * n + [False] * (100 - n)), count=100) for n in (90, 91)
    )
    return compare_results(old, new, [parse_gate("drop>0.5")])


def compressed(name: str) -> CompressResult:
    trial = {"number": 0, "scheme": "tflite-int8", "how": name, "size_bytes": 75_000, "latency_us": 12.0}
    trial |= {"drop_pp": 0.1, "drop_low_pp": -0.2, "drop_high_pp": 0.3, "memory_bytes": None, "error": ""}
    document = {"met": True, "file": f"{name}.tflite", "why": name, "best": 0, "trials": [trial], "misses": []}
    return CompressResult(Path("m.tflite"), True, document | {"notes": [name]})


def diagnosed(name: str) -> AccuracyDiagnosis:
    figures: dict[str, Any] = dict.fromkeys(("drop_low_pp", "drop_high_pp", "agreement", "simulated_agreement"))
    figures |= {"accuracy": 0.1, "model_accuracy": 0.9, "drop_pp": 80.0, "layers": (), "layer_items": 9, "classes": ()}
    fix = Fix(text=f"Equalize {name}", command=f"edgepress convert {name}", tried=True, agreement=0.99)
    about = {"model": "m", "file": name, "scheme": "tflite-int8", "engine": "litert", "data": "d", "items": 9}
    return AccuracyDiagnosis(**about, **figures, text=f"{name} is wrong.", fixes=(fix,))


def every(name: str) -> dict[str, Any]:
    """A result of each kind, in which a class or a file has this name."""
    return {
        "train": trained("a", "b", name),
        "evaluate": evaluated("a", name, "c"),
        "convert": converted(name),
        "benchmark": benchmarked(name),
        "compare": compared(name),
        "compress": compressed(name),
        "sweep": made_up_sweep(1, source=name),
        "diagnose": diagnosed(name),
    }


KINDS = [*every("x")]


@pytest.mark.parametrize("kind", KINDS)
def test_names_are_harmless_and_shown(kind: str) -> None:
    source = every(HOSTILE)[kind]._repr_html_()
    page = Page(source)
    assert page.tags <= TAGS | SVG
    assert page.attributes <= ATTRIBUTES
    assert page.balanced
    assert "<script>alert(1)</script>" in page.text
    assert "\n" not in source, "Markdown would end the block of HTML at an empty line"
    assert not {"url(", "http", "@import"} & {word for word in ("url(", "http", "@import") if word in source}


PLAIN = evaluated("a", "b")


@given(st.text(max_size=90))
def test_any_label_is_text(name: str) -> None:
    rows = [row | {"label": name} for row in PLAIN["per_class"]]
    page = Page(views.evaluation_html(PLAIN | {"per_class": rows}))
    assert page.tags <= TAGS | SVG
    assert page.balanced


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_unknown_is_not_shown(kind: str) -> None:
    text = Page(every("x")[kind]._repr_html_()).text
    assert "None" not in text.split()
    assert "nan" not in text.split()


@pytest.mark.parametrize("kind", KINDS)
def test_print_shows_the_paragraphs_and_every_cell_of_the_view(kind: str) -> None:
    shown = every("<b>&\x00")[kind]
    printed = str(shown)
    view = ElementTree.fromstring(shown._repr_html_())
    graphic = {id(e) for parent in view.iter() if parent.get("class") == "graphic" for e in parent.iter()}
    for cell in view.iter():
        if cell.tag in ("th", "td") and id(cell) not in graphic:
            words = "".join(t for e in cell.iter() if e.tag not in ("svg", "text", "title") for t in [e.text or ""])
            assert all(word in printed for word in words.split()), words
    texts = ["".join(p.itertext()).strip() for p in view.iter("p") if p.find("code") is None and p.find("span") is None]
    assert texts
    assert all(text in printed for text in texts)
    assert "{" not in printed, "no style"
    assert "dashed" not in printed, "no word about plots"
    assert not any(c in printed for c in "\x00\x1b")


def test_a_printed_table_has_aligned_figures_and_its_commands_on_lines_of_their_own() -> None:
    small = row(file="b.tflite", size_bytes=12_300_000, p50_us=2e6)
    lines = str(result(float_row(size_bytes=1000), small)).replace("\N{NO-BREAK SPACE}", " ").splitlines()
    head = next(n for n, line in enumerate(lines) if "Latency" in line)
    for title, figures in {"Size": ("1 kB", "12.3 MB"), "Latency": ("µs", "2.00 s")}.items():
        end = lines[head].index(title) + len(title)
        assert [line[:end].endswith(figure) for line, figure in zip(lines[head + 2 :], figures, strict=False)] == [1, 1]
    remark = next(n for n, line in enumerate(str(trained("a", "b")).splitlines()) if line.startswith("b is rare."))
    assert str(trained("a", "b")).splitlines()[remark + 1] == "    edgepress train --data b"


def test_the_figures_are_those_of_the_results() -> None:
    shown = {kind: " ".join(Page(found._repr_html_()).text.split()) for kind, found in every("x").items()}
    assert "96.67 % accuracy, 29 of 30 test items of photos" in shown["train"]
    assert "61,706 parameters" in shown["train"]
    assert "x is rare. edgepress train --data x" in shown["train"]
    assert "by 3.1 pp (expected calibration error)" in shown["evaluate"]
    assert "Note: It is a note." in shown["evaluate"]
    assert "The net is untrained." in shown["evaluate"]
    assert "1 of 2 files made" in shown["convert"]
    assert "75 kB 87.5 % 40 equalization 1.5 s x.tflite" in shown["convert"]
    assert "No calibration data in x. Give some." in shown["convert"]
    assert "Ship x.tflite on litert" in shown["benchmark"]
    assert "0.25 [−0.50, 1.00]" in shown["benchmark"]
    assert "drop>0.5" in shown["compare"]
    assert "x.tflite keeps all limits" in shown["compress"]
    assert "most accurate" in shown["sweep"]
    assert "10.00 % instead of 90.00 %" in shown["diagnose"]


def test_the_row_to_ship_and_no_other_is_stressed() -> None:
    source = benchmarked("x")._repr_html_()
    assert source.count('class="chosen"') == 1
    assert source.split('class="chosen"')[1].startswith('><th scope="row" class="">x.tflite')
    nothing = Benchmark(**vars(benchmarked("x")) | {"advice": Advice(ship=None, engine=None, why="None is usable.")})
    assert 'class="chosen"' not in nothing._repr_html_()
    assert "No file to ship" in nothing._repr_html_()


def test_rows_that_differ_in_threads_or_batch_only_are_told_apart() -> None:
    found = benchmarked("x")
    alone, small = found.results
    both = dataclasses.replace(found, results=(alone, small, dataclasses.replace(small, threads=4)))
    assert both._repr_html_().count('class="chosen"') == 1
    shown = Page(both._repr_html_()).text
    assert "Threads" in shown
    assert "Batch" not in shown
    assert "x.tflite litert 4 75 kB" in " ".join(shown.split())


def test_files_without_labels_are_shown_with_their_error() -> None:
    rows = (float_row(drop_pp=None), row(sqnr_db=37.2, status="usable"))
    found = dataclasses.replace(result(*rows), data={"source": "photos", "split": "all", "count": 80})
    shown = " ".join(Page(found._repr_html_()).text.split())
    assert "37.2 dB" in shown
    assert " 80 items of photos" in shown
    assert "Drop, pp" not in shown


def test_two_files_of_one_name_are_told_apart() -> None:
    found = compared("x").to_dict() | {"old": "runs/plain/m.tflite", "new": "runs\\fixed\\m.tflite"}
    assert "plain/m.tflite → fixed/m.tflite" in Page(views.comparison_html(found)).text
    found |= {"new": "runs/plain/n.tflite"}
    assert ">m.tflite → n.tflite<" in views.comparison_html(found)


def test_an_evaluation_without_calibration_error_is_shown() -> None:
    assert "calibration error" not in views.evaluation_html(PLAIN | {"ece": None})


def test_documents_of_older_versions_are_shown() -> None:
    file = Path(__file__).parents[1] / "support" / "benchmark_v1.json"
    found = load_benchmark(file)
    assert "Ship " in found._repr_html_()
    assert "Ship " in views.benchmark_html(json.loads(file.read_text()))


def test_views_of_large_results_stay_small() -> None:
    many = tuple(f"class {n} " + "w" * 500 for n in range(1000))
    large = result(*(row(f"s{n}", file=f"{'f' * 500}{n}.tflite") for n in range(1000)))
    for found in (trained(*many), evaluated(*many), Variants(500 * converted("x")), large, made_up_sweep(40)):
        assert len(found._repr_html_()) < 100_000
    assert "… and 960 more rows" in large._repr_html_()
    assert "The first 20 of 1000 classes" in evaluated(*many)._repr_html_()


def test_an_unfinished_training_is_shown() -> None:
    assert "Unfinished training: 3 epochs so far" in TrainResult(Path("m"), {}, trained("a", "b").history)._repr_html_()
    assert "Unfinished training: 0 epochs" in TrainResult(Path("m"), {}, [])._repr_html_()


def test_results_are_still_the_dictionaries_and_lists_that_they_were() -> None:
    found = evaluated("a", "b")
    assert isinstance(found, dict)
    assert json.loads(json.dumps(found)) == found == dict(found) == copy.deepcopy(found)
    assert pickle.loads(pickle.dumps(found)) == found
    variants = converted("x")
    assert isinstance(variants, list)
    first, _ = variants
    assert variants[:1] == [first]


def luminance(color: str) -> float:
    """The relative luminance of a color, WCAG 2.2."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("ground", ["#ffffff", "#111111"])
@pytest.mark.parametrize("color", [html.MARK, html.BAD])
def test_marks_are_seen_on_light_and_dark_ground(color: str, ground: str) -> None:
    low, high = sorted([luminance(color), luminance(ground)])
    assert (high + 0.05) / (low + 0.05) >= 3
