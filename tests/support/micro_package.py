"""A package with the interface of the wheel tflite-micro, which LiteRT answers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PACKAGE = """
import os
import signal
import numpy as np
from ai_edge_litert.interpreter import Interpreter as LiteRT


class Interpreter:
    @classmethod
    def from_file(cls, path, arena_size):
        if arena_size < 4321:
            raise RuntimeError("Failed to allocate")
        made = cls()
        made._inner = LiteRT(model_path=path)
        made._inner.allocate_tensors()
        return made

    def _details(self, details):
        scale, zero = details["quantization"]
        known = {{"scales": [scale] if scale else [], "zero_points": [zero] if scale else []}}
        return {{"shape": details["shape"], "dtype": details["dtype"], "quantization_parameters": known}}

    def get_input_details(self, index):
        return self._details(self._inner.get_input_details()[index])

    def get_output_details(self, index):
        return self._details(self._inner.get_output_details()[index])

    def set_input(self, item, index):
        self._inner.set_tensor(self._inner.get_input_details()[index]["index"], item)

    def invoke(self):
        {invoke}
        self._inner.invoke()

    def get_output(self, index):
        return self._inner.get_tensor(self._inner.get_output_details()[index]["index"])

    def print_allocations(self):
        os.write(2, b"[RecordingMicroAllocator] Arena allocation total 4321 bytes\\n")

    def reset(self):
        pass
"""
"""The interface of the wheel's class, answered by LiteRT."""
Install = Callable[[str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a package with the wheel's interface; the argument is a statement before each inference."""

    def work(invoke: str) -> None:
        folder = tmp_path / "packages"
        (folder / "tflite_micro").mkdir(parents=True)
        (folder / "tflite_micro" / "__init__.py").write_text("from tflite_micro import runtime\n")
        (folder / "tflite_micro" / "runtime.py").write_text(PACKAGE.format(invoke=invoke))
        (folder / "tflite_micro-9.dist-info").mkdir()
        (folder / "tflite_micro-9.dist-info" / "METADATA").write_text("Name: tflite-micro\nVersion: 9\n")
        forget()
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.setenv("PYTHONPATH", str(folder), prepend=":")

    yield work
    forget()


def forget() -> None:
    """Unload the package, so that the next import looks for it again."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "tflite_micro"]:
        del sys.modules[name]
