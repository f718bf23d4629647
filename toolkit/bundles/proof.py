"""Run the self-test of a bundle that is laid out in a folder, with the sources in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from edgepress.toolkit.errors import BundleError
from edgepress.toolkit.escaping import shell_line

PROOF_S = 600
"""Time limit of the self-test in seconds."""


def prove(folder: Path, engine: str | None) -> dict[str, Any]:
    """Run the self-test with the sources in the folder, and return its report."""
    chosen = ["--engine", engine] if engine is not None else []
    command = [sys.executable, "-B", "-m", "edgepress.runtime", "selftest", str(folder), "--json", *chosen]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH"} | {"PYTHONPATH": str(folder)}
    try:
        process = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PROOF_S)
        report: dict[str, Any] = json.loads(process.stdout)
    except (subprocess.TimeoutExpired, ValueError) as e:
        raise BundleError(f"The self-test ended without a result: {e}.", "Convert the model again.") from e
    if process.returncode:
        reason = report.get("error", {}).get("message") or "its answers differ from the stored ones"
        hint = f"Try: {shell_line('edgepress', 'predict', folder.name)} IMAGE"
        raise BundleError(f"The self-test fails on this machine: {reason}", hint)
    return report
