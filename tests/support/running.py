"""What the tests of the board's command line share."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

COMMAND = [sys.executable, "-m", "edgepress.runtime"]


def printed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]
