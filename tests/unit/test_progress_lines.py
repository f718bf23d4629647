"""Long work whose output goes to a log: a line for each tenth, and none of what ends at once."""

from __future__ import annotations

import pytest

from edgepress.toolkit.cli import screen


@pytest.mark.parametrize(("each_s", "lines"), [(0.1, 0), (2.0, 10)])
def test_a_log_is_told_how_far_long_work_is(
    each_s: float, lines: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twenty rounds of timing, each of which is told."""
    now = [0.0]
    monkeypatch.setattr("edgepress.toolkit.cli.screen.time.monotonic", lambda: now[0])
    with screen.progress({"latency": "Timing"}) as update:
        for done in range(21):
            update("latency", done / 20)
            update("latency", done / 20)
            now[0] += each_s
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == lines
    if lines:
        assert printed.err.splitlines()[0] == "Timing: 15%, about 34 s left", "the first that took five seconds"
        assert printed.err.splitlines()[-1] == "Timing: 100%"
