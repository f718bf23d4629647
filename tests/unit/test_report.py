"""The report's texts: Markdown, model card, what the page is made of. The page in a browser: test_report_page.py."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_compress_report import document as compress_document
from typer.testing import CliRunner

from edgepress.converters.schemes import SCHEMES
from edgepress.runtime.text import one_line
from edgepress.toolkit.cli.app import app
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.escaping import markdown as escaped
from edgepress.toolkit.reports import view
from edgepress.toolkit.reports.markdown import markdown, model_card
from edgepress.toolkit.reports.page import HERE, SCRIPTS, _tiles, embedded_json, page
from edgepress.toolkit.reports.report import report
from edgepress.toolkit.results.records import Advice, Benchmark, Measurement

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made_up() -> Callable[..., Benchmark]:
    """The made-up benchmark that benchmarks/pages/report_page.py measures the page with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks" / "pages"))
        function: Callable[..., Benchmark] = importlib.import_module("report_document").made_up_benchmark
    return function


def bare() -> Benchmark:
    """A result as the first version of benchmark.json held it, of a file without any extra and one that failed."""
    rows = (
        Measurement(
            file="v/a.tflite", scheme="tflite-float32", engine="litert", threads=1, size_bytes=1000, accuracy=0.5
        ),
        Measurement(
            file="v/b.onnx", scheme="onnx-int8", engine="", threads=1, size_bytes=900, status="failed: no engine"
        ),
    )
    host = {"name": "h", "cpu": "CPU", "machine": "x86_64", "cores": 1}
    data = {"source": "digits", "sha256": "0" * 64, "count": 360}
    advice = Advice(ship=None, engine=None, why="No file can be recommended: there is no baseline.")
    return Benchmark(
        host=host, data=data, baseline=None, keras_accuracy=None, max_drop_pp=1.0, results=rows, advice=advice
    )


def write(result: Benchmark, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "benchmark.json").write_text(json.dumps(result.to_dict()))
    return folder


@pytest.mark.parametrize("form", ["html", "md", "card"])
def test_what_was_not_measured_is_left_out(form: str, tmp_path: Path) -> None:
    text = report(write(bare(), tmp_path), format=form).text
    shown = re.sub(r"<(script|style).*?</\1>|<meta[^>]*>", "", text, flags=re.S)
    assert "50.00" in shown
    assert "failed: no engine" in shown
    assert not re.search(r"\bNone\b|\bnan\b|\bnull\b|undefined|(?<!\d)0\.00\W*(pp|%)", shown)
    for name in (
        "Peak memory",
        "Speed-up",
        "speed-up",
        "Calibration",
        "ECE",
        "Disagreements",
        "Physical limits",
        "MAC",
    ):
        assert name not in shown


def test_the_page_is_written_beside_the_results_and_is_one_file(made_up: Any, tmp_path: Path) -> None:
    made = report(write(made_up(), tmp_path / "variants"))
    assert made.out == tmp_path / "variants" / "report.html"
    assert made.size_bytes == made.out.stat().st_size < 1_000_000
    text = made.out.read_text()
    assert not re.search(r"""(src|href)=["'](?!#|data:)""", text), "it must load nothing"
    assert "smallest of 9 files whose accuracy drop is proven" in text


def test_a_report_of_what_is_no_result_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no benchmark"):
        report(tmp_path)
    with pytest.raises(InputError, match="format"):
        report(write(bare(), tmp_path), format="pdf")
    assert [p.name for p in tmp_path.iterdir()] == ["benchmark.json"]


def test_the_command_prints_one_document_or_the_text_alone(made_up: Any, tmp_path: Path) -> None:
    folder = str(write(made_up(), tmp_path / "v"))
    run = CliRunner().invoke(app, ["report", folder, "--json"])
    assert run.exit_code == 0
    document = json.loads(run.stdout)
    assert document["format"] == "html"
    assert Path(document["out"]).stat().st_size == document["size_bytes"]
    text = CliRunner().invoke(app, ["report", folder, "--format", "md"]).stdout
    assert text == markdown(made_up())
    out = tmp_path / "README.md"
    run = CliRunner().invoke(app, ["report", folder, "--format", "card", "--license", "mit", "--out", str(out)])
    assert run.exit_code == 0
    assert out.read_text().startswith('---\nlicense: "mit"\n')


def test_markdown_is_a_table_of_all_files_with_the_shipped_one_bold(made_up: Any) -> None:
    text = markdown(made_up(boards=True))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 54
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1, "every line has the same columns"
    assert next(line for line in rows if "**" in line).startswith("| **tflite-int8** | litert | bench |")
    assert sum("**" in line for line in rows) == 1
    assert re.search(r"^> .*spread by 9 %", text, re.MULTILINE), "the noise during timing is a quote"


def test_markdown_tells_threads_and_batches_apart_and_a_failure_once(made_up: Any) -> None:
    result = made_up()
    rows = [
        replace(r, status="failed: it does not open", p50_us=None) if n == 1 else r
        for n, r in enumerate(result.results[:3])
    ]
    slow = replace(rows[2], status="failed: it took too long", threads=2)
    several = replace(result, results=(*rows, *(replace(r, threads=2) for r in rows[:2]), slow))
    text = markdown(several)
    assert "| File | Engine | Threads | Size |" in text
    assert text.count("it does not open") == 1
    assert "on openvino, 2 threads: failed: it took too long" in text


@given(st.text(max_size=60))
def test_no_text_breaks_out_of_markdown(text: str) -> None:
    made = escaped(text)
    assert "\n" not in made
    assert not re.search(r"<|>|(?<!\\)(\\\\)*[|`*\[\]]", made)


def _lines_of(value: Any) -> Any:
    return one_line(value) if isinstance(value, str) else [_lines_of(each) for each in value]


@given(st.recursive(st.text(max_size=20), lambda inner: st.lists(inner, max_size=3), max_leaves=5))
def test_no_text_breaks_out_of_the_embedded_data(value: Any) -> None:
    text = embedded_json(value)
    assert "<" not in text
    assert json.loads(text) == _lines_of(value)


def test_the_card_has_the_head_that_the_hub_reads(made_up: Any) -> None:
    yaml = pytest.importorskip("yaml")
    hostile = replace(made_up(), data=made_up().data | {"source": 'a: "b" # ---\n---\nlicense: mit'})
    for result in (made_up(), bare(), hostile):
        _, head, body = re.split(r"^---$", model_card(result), maxsplit=2, flags=re.M)
        meta = yaml.safe_load(head)
        assert meta["license"] == "unknown"
        assert meta["library_name"] == "tflite"
        assert {"edgepress", "tflite"} <= set(meta["tags"])
        assert "## Evaluation" in body
    meta = yaml.safe_load(model_card(made_up(), licence="mit").split("---")[1])
    (index,) = meta["model-index"]
    (entry,) = index["results"]
    assert meta["license"] == "mit"
    assert entry["task"]["type"] == meta["pipeline_tag"] == "image-classification"
    assert entry["dataset"] == {"type": "photos", "name": "photos", "split": "test"}
    ship = view.shipped_row(made_up())
    assert ship is not None
    assert {m["type"]: m["value"] for m in entry["metrics"]} == {
        "accuracy": pytest.approx(ship.accuracy, abs=1e-5),
        "f1": pytest.approx(ship.macro_f1, abs=1e-5),
    }


def test_files_of_one_scheme_are_told_apart() -> None:
    def row(file: str, scheme: str) -> Measurement:
        return Measurement(file=file, scheme=scheme, engine="litert", threads=1, size_bytes=1)

    rows = [row("a/x.tflite", "tflite-int8"), row("b/x.tflite", "tflite-int8"), row("a/y.onnx", "onnx-int8")]
    assert view.row_names(rows) == ["a/x.tflite", "b/x.tflite", "onnx-int8"]
    rows[1] = row("b/z.tflite", "tflite-int8")
    assert view.row_names(rows)[:2] == ["x.tflite", "z.tflite"]


def test_the_pages_own_parts_can_stand_in_a_page() -> None:
    for name in (*SCRIPTS, "report.css"):
        text = (HERE / name).read_text()
        assert not re.search(r"</(script|style)|<!--", text), name
        assert re.search(r"https?://(?!www\.w3\.org/)", text) is None, name
    assert (HERE / "vendor" / "d3.min.js").stat().st_size < 300_000
    versions = json.loads((HERE / "vendor" / "package.json").read_text())["devDependencies"]
    licence = (HERE / "vendor" / "LICENSE").read_text()
    assert all(f"{name} {version}" in licence for name, version in versions.items() if name != "esbuild")
    assert "Permission to use, copy, modify" in page(bare()), "the licence asks for its notice in every copy"


# Machado, Oliveira and Fernandes 2009, "A physiologically-based model for simulation of color vision deficiency", at
# full severity, on linear sRGB.
BLINDNESS = {
    "none": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def linear(color: str) -> Any:
    srgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def oklab(rgb: Any) -> Any:
    """Ottosson 2020, "A perceptual color space for image processing"."""
    to_cones = [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566]]
    to_cones.append([0.0883024619, 0.2817188376, 0.6299787005])
    to_lab = [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099]]
    to_lab.append([0.0259040371, 0.7827717662, -0.8086757660])
    return np.array(to_lab) @ np.cbrt(np.array(to_cones) @ np.clip(rgb, 0, 1))


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_colors_of_schemes_are_seen_and_told_apart_by_everybody(theme: int) -> None:
    themes = [
        dict(re.findall(r"--(\w+): (#\w{6})", part)) for part in (HERE / "report.css").read_text().split("@media", 2)
    ]
    values = themes[theme]
    colors = [linear(scheme.colors[theme]) for scheme in SCHEMES.values()]
    luminance = [float(np.dot([0.2126, 0.7152, 0.0722], c)) for c in [*colors, linear(values["card"])]]
    for one in luminance[:-1]:
        low, high = sorted((one, luminance[-1]))
        assert (high + 0.05) / (low + 0.05) >= 3, "WCAG 2.2, 1.4.11: contrast of graphics"
    for name, matrix in BLINDNESS.items():
        seen = [oklab(np.array(matrix) @ c) for c in colors]
        nearest = min(float(np.linalg.norm(a - b)) for n, a in enumerate(seen) for b in seen[:n])
        assert nearest > 0.08, name  # Oklab: 0.02 is about what can just be told apart


def test_a_card_shows_the_shape_of_others_as_text(made_up: Any) -> None:
    hostile = "<img src=x>\x1b[2J\n::error::x"
    contract = {"input": {"shape": [hostile, 28], "color": "grey"}, "labels": ["a"]}
    result = made_up()
    result = replace(result, provenance={**result.provenance, "contract": contract})
    card = model_card(result)
    assert "<img" not in card
    assert "\x1b" not in card
    assert "\n::" not in card


@pytest.mark.parametrize("best", [1, None])
def test_the_page_shows_the_files_of_a_search_and_what_was_missed_if_no_file_is_the_best(
    best: int | None, made_up: Any
) -> None:
    text = page(made_up(), compress_document(best))
    assert ("least size" in text) == (best is None)
    assert text.count("<td>best</td>") == (best is not None)
    assert "0.10 pp" in text or "0.10 [" in text
    assert "1 kB" in text


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (0.5, "2× smaller than the baseline"),
        (0.9, "1.11× smaller than the baseline"),
        (0.998, ""),
        (1.0, ""),
        (2.0, ""),
    ],
)
def test_a_file_as_large_as_the_baseline_is_not_called_smaller(ratio: float, words: str) -> None:
    base = Measurement(file="base", scheme="tflite-float32", engine="litert", threads=1, size_bytes=1000)
    ship = replace(base, file="ship", size_bytes=int(1000 * ratio), size_ratio=ratio)
    assert _tiles(ship, base)[0][2] == words


@pytest.mark.parametrize("exact_match", [None, 0.9])
def test_a_report_begins_with_three_figures(exact_match: float | None) -> None:
    """Of a file with labels, whatever else is known of it."""
    base = Measurement(file="base", scheme="tflite-float32", engine="litert", threads=1, size_bytes=1000, accuracy=0.9)
    known = {"accuracy": 0.9, "p50_us": 5.0, "memory_bytes": 9000, "macro_f1": 0.8, "mean_average_precision": 0.7}
    ship = replace(base, file="ship", exact_match=exact_match, **known)
    names = [name for name, _, _ in _tiles(ship, base)]
    assert names == ["Size", "Accuracy" if exact_match is None else "Exact match", "Latency, p50"]
