"""The page of `edgepress label` in Debian's chromium: keys that are faster than the server."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import NEEDS_CHROMIUM, chromium
from PIL import Image

from edgepress.runtime.keeping import ABOUT
from edgepress.toolkit.improvement.labelling.desk import TO_DO, Desk
from edgepress.toolkit.improvement.labelling.label import LabelSite
from edgepress.toolkit.improvement.playing.web import Server, start_server

pytestmark = NEEDS_CHROMIUM


@pytest.fixture
def site(tmp_path: Path) -> LabelSite:
    for n in range(5):
        pixels = np.random.default_rng(n).integers(0, 256, (16, 16)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"20261128T12000000{n}Z-000-0900-{n:08x}.png")
    (tmp_path / ABOUT).write_text(json.dumps({"labels": ["cat", "dog"], "model": "m"}))
    return LabelSite(Desk(tmp_path), "edgepress improve")


@pytest.fixture
def tab(site: LabelSite) -> Iterator[Any]:
    """The page; the server takes steps back slowly."""
    undo = site.desk.undo

    def slowly() -> int | None:
        time.sleep(0.3)
        return undo()

    site.desk.undo = slowly  # type: ignore[method-assign]
    server = Server(site.handle, command="label")
    url = start_server(server, 0)
    with chromium() as start:
        tab = start().new_page()
        tab.goto(url)
        tab.wait_for_selector("html[data-ready=yes]")
        yield tab
    server.stop()


def press(tab: Any, keys: str) -> None:
    """Press keys at once, and wait until the server has answered to all."""
    for key in keys:
        tab.keyboard.press(key)
    while tab.evaluate("turn !== null"):
        tab.wait_for_timeout(10)
    tab.evaluate("async () => { await queue; }")


def test_a_key_after_a_step_back_is_for_the_picture_that_came_back(site: LabelSite, tab: Any) -> None:
    press(tab, "11u2")
    assert site.desk.label_numbers == [0, 1, TO_DO, TO_DO, TO_DO]


def test_keys_between_steps_back_are_in_turn(site: LabelSite, tab: Any) -> None:
    press(tab, "111u2uu21")
    assert site.desk.label_numbers == [0, 1, 0, TO_DO, TO_DO]


def test_a_picture_that_is_gone_is_not_taken_for_the_former_one(site: LabelSite, tab: Any) -> None:
    assert tab.locator("#picture").is_visible()
    site.desk.path(1).write_text("no picture any more")
    tab.reload()  # the page has it in memory
    tab.wait_for_selector("html[data-ready=yes]")
    press(tab, "1")
    tab.wait_for_selector("#said:has-text('shown')")
    assert tab.locator("#picture").evaluate("image => getComputedStyle(image).visibility") == "hidden"
    assert tab.locator("#said").inner_text().endswith("its file was moved or changed, or is too large.")
    tab.locator("#next").click()
    tab.wait_for_selector("#picture:not(.loading)")
    assert tab.locator("#picture").is_visible()
    assert "shown" not in tab.locator("#said").inner_text()
