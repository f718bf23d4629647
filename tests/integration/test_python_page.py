"""The page of the Python functions runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


@pytest.mark.slow
def test_the_calls_of_a_day_run_and_show_results_as_lines_and_tables(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) > code.count("print(")
    assert max(map(len, lines)) < 600
    for shown in ("Class     Precision   Recall", "model-int8.tflite", "Latency"):
        assert shown in done.stdout
    assert "INFO: " not in done.stderr
    made = {"digits.zip", "c99", "runs"}
    assert made <= {path.name for path in tmp_path.iterdir()}
