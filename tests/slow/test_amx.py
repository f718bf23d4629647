"""`EDGEPRESS_AMX=0`: engines open files without Intel's tiles."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from edgepress.runtime import amx
from edgepress.runtime.errors import EngineError
from edgepress.runtime.system import FLAGS, cpu_info

GRANTED = """
import ctypes, sys
import numpy as np
from edgepress.runtime import load
first, path = sys.argv[1:]
libc, granted = ctypes.CDLL(None), ctypes.c_uint64()
if first == "other":  # another library asks for tiles
    libc.syscall(158, 0x1023, 18)
model = load(path)
libc.syscall(158, 0x1022, ctypes.byref(granted))
print(granted.value >> 18 & 1)
"""
needs_amx = pytest.mark.skipif(
    sys.platform != "linux" or "amx_int8" not in cpu_info(FLAGS).split(), reason="this CPU has no AMX"
)


def opened(path: Any, value: str, first: str = "") -> subprocess.CompletedProcess[str]:
    """Open a file in a process of its own, which prints whether it may use tiles."""
    command = [sys.executable, "-c", GRANTED, first, str(path)]
    environment = os.environ | {amx.VARIABLE: value}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@needs_amx
@pytest.mark.parametrize(("value", "granted"), [("0", "0"), ("1", "1"), ("", "1")])
def test_tiles_are_asked_for_unless_they_are_switched_off(run: Any, value: str, granted: str) -> None:
    assert opened(run.variants["tflite-int8"], value).stdout.strip() == granted


@needs_amx
def test_a_process_that_has_tiles_can_not_do_without(run: Any) -> None:
    assert "EDGEPRESS_AMX=0 comes too late" in opened(run.variants["tflite-int8"], "0", "other").stderr


@pytest.mark.parametrize("path", ["tflite-int8", "onnx-int8"])
def test_a_file_opens_without_tiles_on_every_cpu(run: Any, path: str) -> None:
    found = opened(run.variants[path], "0")
    assert (found.returncode, found.stdout.strip()) == (0, "0"), found.stderr


def test_another_value_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(amx.VARIABLE, "off")
    with pytest.raises(EngineError, match="EDGEPRESS_AMX is 'off'; accepted: 0 or 1"):
        amx.apply()


@pytest.mark.parametrize(
    ("flags", "value", "has"),
    [
        ("avx512_vnni amx_tile amx_int8", "", True),
        ("avx512_vnni amx_tile amx_int8", "1", True),
        ("avx512_vnni amx_tile amx_int8", "0", False),
        ("avx512_vnni", "1", False),
        ("amx_int88", "1", False),
    ],
)
def test_a_cpu_has_tiles_that_it_names_and_that_are_not_switched_off(
    flags: str, value: str, has: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amx, "cpu_info", lambda field: flags)
    monkeypatch.setenv(amx.VARIABLE, value)
    assert amx.has_tiles() is has
