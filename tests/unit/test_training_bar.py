"""The progress of a training, in a notebook."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.toolkit.training import fitting


@pytest.mark.parametrize("show", [True, False])
def test_a_notebook_shows_a_bar_only_if_progress_is_wanted(monkeypatch: pytest.MonkeyPatch, show: bool) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(
        fitting, "_notebook_display", lambda: shown.append("begun") or SimpleNamespace(update=shown.append)
    )
    with fitting.training_bar(2, 3, done=1, show=show) as advance:
        for step in range(3):
            advance(1, {"loss": 0.5 - step / 10, "accuracy": 0.5})
        advance(1, {"loss": 0.3, "accuracy": 0.5, "val_accuracy": 0.75})
    if not show:
        assert shown == []
        return
    assert shown[0] == "begun"
    last = ElementTree.fromstring(shown[-1]._repr_html_())
    progress = last.find("progress")
    assert progress is not None
    assert progress.attrib == {"value": "6", "max": "6"}, "validation is no step"
    assert "".join(last.itertext()).strip() == "epoch 2/2  loss 0.3000  accuracy 50.00%  validation 75.00%"


@given(count=st.integers(0, 10**6), total=st.integers(0, 10**6), loss=st.floats(allow_nan=True))
def test_a_bar_is_xml_of_any_figures(count: int, total: int, loss: float) -> None:
    words = fitting._words(0, 1, {"loss": loss, "accuracy": 0.0})
    root = ElementTree.fromstring(fitting._Bar(count, total, words)._repr_html_())
    assert root.tag == "p"
