"""What `compress` says of a search, without TensorFlow: the verdict, figures on test items, the picture, the report."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from edgepress.toolkit.errors import InputError
from edgepress.toolkit.reports.report import compress_search_of
from edgepress.toolkit.search.compression.measure import Measurer
from edgepress.toolkit.search.compression.report import on_test, plot_search


def test_a_source_near_its_largest_class_is_named_with_the_share_of_that_class():
    import numpy as np

    subject = SimpleNamespace(opened=SimpleNamespace(labels=("a", "b")))
    y = np.repeat([0, 1], (15, 45))
    answers = {"always b": np.ones(60, int), "right": y, "always a": np.zeros(60, int)}
    texts = {
        name: Measurer._near_largest(SimpleNamespace(subject=subject), y, predicted == y)  # type: ignore[arg-type]
        for name, predicted in answers.items()
    }
    assert texts["right"] is None
    assert texts["always a"] is not None
    assert texts["always b"] is not None
    assert (
        texts["always b"]
        .in_words(60, ("a", "b"))
        .startswith("answers 75.0 % of 60 test items correctly, and 75.0 % are of the class b: ")
    )


def test_the_final_figure_says_what_it_proves():
    final = {
        "items": 100,
        "accuracy": 0.9,
        "drop_pp": 0.2,
        "drop_low_pp": 0.1,
        "drop_high_pp": 0.4,
        "probability": 0.97,
    }
    assert "proves that it keeps" in on_test(final, 0.4)
    assert "97 % sure to be within 0.3 pp, which these items do not prove" in on_test(final, 0.3)
    assert "beyond the limit" in on_test(final, 0.05)
    beyond = on_test(final, 0.15)
    assert "it is 97 % sure to be within 0.15 pp on other such items" in beyond, "it does not look like a contradiction"
    assert "probabilities" not in on_test(final | {"probability": 0.5}, 0.15)
    assert "probabilities" not in on_test(final, 0.2)


def document(best: int | None = 1) -> dict[str, Any]:
    rows = [
        {
            "number": n,
            "strategy": strategy,
            "scheme": "tflite-int8",
            "how": "<b>how</b>",
            "size_bytes": size,
            "drop_pp": 0.1 * n,
        }
        | {"drop_low_pp": -0.1, "drop_high_pp": 0.5, "latency_us": 10.0 + n, "memory_bytes": None, "seconds": 1.0}
        | {"error": ""}
        for n, (strategy, size) in enumerate((("float", 4000), ("int8", 1000), ("int4", 700)))
    ]
    return {
        "why": "because",
        "met": best is not None,
        "latency_on": "here",
        "engine": "litert",
        "model": "m.keras",
        "data": {"validation": 100},
        "best": best,
        "limits": {"drop": 0.5, "size": 900.0},
        "trials": rows,
        "skipped": [{"strategy": "mixed", "why": "it can't help"}],
        "misses": [{"text": "least size"}],
    }


@pytest.mark.parametrize("best", [1, None])
def test_the_picture_is_drawn(tmp_path, best):
    plot_search(document(best), tmp_path / "search.png")
    assert (tmp_path / "search.png").stat().st_size > 5000


def test_the_report_shows_the_search_beside_a_benchmark(tmp_path):
    assert compress_search_of(tmp_path) is None
    (tmp_path / "compress.json").write_text(json.dumps(document()))
    shown = compress_search_of(tmp_path)
    assert shown is not None
    assert [row["number"] == shown["best"] for row in shown["trials"]] == [False, True, False]
    (tmp_path / "compress.json").write_text("{")
    with pytest.raises(InputError, match=r"compress.json is damaged"):
        compress_search_of(tmp_path)
