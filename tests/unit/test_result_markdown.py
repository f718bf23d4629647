"""Results of notebooks as Markdown for the tutorial's page: tables as tables, plots as files, no HTML."""

from __future__ import annotations

from typing import Any

import pytest
from scripts import script

PLOT = '<svg viewBox="0 0 2 2"><title>By epoch</title><text x="1">5 %</text></svg>'


@pytest.fixture(scope="module")
def markdown() -> Any:
    return script("benchmarks/docs/result_markdown.py")


def converted(markdown: Any, html: str) -> tuple[str, dict[str, bytes]]:
    plots = markdown.Plots("page")
    return markdown.result_markdown(
        f'<div class="edgepress-result"><style>p{{x:y}}</style>{html}</div>', plots
    ), plots.files


def test_paragraphs_keep_their_words_and_commands(markdown: Any) -> None:
    text, files = converted(markdown, '<p class="title">9 files</p><p>a*b, 3 &lt; 4: <code>edgepress demo</code></p>')
    assert text == "**9 files**\n\na\\*b, 3 \\< 4: `edgepress demo`"
    assert files == {}


def test_a_table_keeps_its_figures_and_a_plot_in_a_cell_is_left_out(markdown: Any) -> None:
    head = '<thead><tr><th>File</th><th class="num">Drop</th></tr></thead>'
    body = f"<tbody><tr><th>a|b</th><td><div><div>0.5</div>{PLOT}</div></td></tr></tbody>"
    text, files = converted(markdown, f"<div><table><caption>Drops</caption>{head}{body}</table></div>")
    assert text == "Drops\n\n| File | Drop |\n| --- | --: |\n| a\\|b | 0.5 |"
    assert files == {}


def test_a_plot_becomes_a_file_that_shows_on_any_ground(markdown: Any) -> None:
    text, files = converted(markdown, f"<div><div>Accuracy</div>{PLOT}</div>{PLOT}")
    assert text == "Accuracy\n\n![By epoch](page-plot-1.svg)\n\n![By epoch](page-plot-2.svg)"
    assert [*files] == ["page-plot-1.svg", "page-plot-2.svg"]
    assert b'xmlns="http://www.w3.org/2000/svg"' in files["page-plot-1.svg"]
    assert b'fill="#808080"' in files["page-plot-1.svg"]
