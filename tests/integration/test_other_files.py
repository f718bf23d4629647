"""A file that is no model, or one that no interpreter here runs, is named for what it is by every command."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from other_files import KINDS, write

from edgepress.converters.sources.open import open_source
from edgepress.runtime.__main__ import main as runtime_main
from edgepress.runtime.errors import EdgepressError, first_line
from edgepress.runtime.filetypes import kind_of
from edgepress.toolkit import (
    annotate,
    benchmark,
    bundle,
    compare,
    convert,
    evaluate,
    inspect,
    predict,
    profile,
    verify,
)

COMMANDS: dict[str, Any] = {
    "evaluate": lambda path: evaluate(path, data="digits"),
    "benchmark": lambda path: benchmark(path, data="digits"),
    "compare": lambda path: compare(path, shutil.copy(path, path.with_stem("second")), data="digits"),
    "bundle": lambda path: bundle(path, path.with_suffix(".zip"), data="digits"),
    "convert (the child's part)": open_source,
}
IN_CHILDREN: dict[str, Any] = {
    "inspect": inspect,
    "convert": lambda path: convert(path, path.suffix[1:], out=path.parent / "out"),
    "predict": lambda path: predict(path, path.parent / "item.npy"),
    "profile": profile,
    "annotate": lambda path: annotate(path, path.with_stem("annotated")),
}
"""Commands that start a process for files that might be models, which takes seconds."""
RUNTIME = {
    "classify": ["item.npy"],
    "bench": ["--seconds", "0.1"],
    "info": [],
    "selftest": [],
    "serve": ["--port", "0"],
}


def named(path: Path, kind: str, error: EdgepressError) -> None:
    assert str(path) in error.message
    assert kind in error.message
    assert error.hint, "it says what to do next"


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "child"), [*zip(KINDS, itertools.cycle(IN_CHILDREN), strict=False)])
def test_every_command_names_it(kind: str, child: str, tmp_path: Path) -> None:
    """The commands that start a process in turn: all of them ask the same table what a file is."""
    path = write(tmp_path, kind)
    np.save(tmp_path / "item.npy", np.zeros((1, 3), np.float32))
    model = kind_of(path).format != ""
    for command in (*COMMANDS.values(), *(() if model else (IN_CHILDREN[child],))):
        with pytest.raises(EdgepressError) as caught:
            command(path)
        named(path, kind, caught.value)
    with pytest.raises(EdgepressError) as caught:
        verify(path)
    named(path, "is not a bundle" if path.read_bytes()[:2] != b"PK" else "is not an unchanged bundle", caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_every_command_of_the_runtime_names_it(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, kind)
    for command, options in RUNTIME.items():
        assert runtime_main([command, str(path), *options, "--json"]) == 1
        (line,) = capsys.readouterr().out.splitlines()
        found = json.loads(line)["error"]
        assert str(path) in found["message"], command
        assert kind in found["message"], command


@pytest.mark.parametrize("command", [name for name in IN_CHILDREN if name != "inspect"])
def test_commands_in_children_name_an_edge_tpu_file(command: str, tmp_path: Path) -> None:
    path = write(tmp_path, "an Edge TPU")
    np.save(tmp_path / "item.npy", np.zeros((1, 3), np.float32))
    with pytest.raises(EdgepressError) as caught:
        IN_CHILDREN[command](path)
    named(path, "an Edge TPU", caught.value)


@pytest.mark.parametrize("kind", [kind for kind, (_, data) in KINDS.items() if callable(data)])
def test_inspect_shows_such_a_file_and_names_it_in_a_note(kind: str, tmp_path: Path) -> None:
    found = inspect(write(tmp_path, kind))
    assert any(kind in note for note in found.notes)
    assert found.engine is not None
    assert not found.engine.opens


@pytest.mark.parametrize(
    ("suffix", "format"), [(".tflite", "onnx"), (".h5", "tflite"), (".onnx", "keras"), (".keras", "onnx")]
)
def test_a_model_under_a_wrong_suffix_is_opened_for_what_it_is(
    suffix: str, format: str, run: Any, tmp_path: Path
) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes((run.model if format == "keras" else run.variants[f"{format}-float32"]).read_bytes())
    assert kind_of(path).format == format
    assert open_source(path).facts.outputs == 10
    with pytest.raises(EdgepressError, match=rf"model\{suffix} is a \.{format} file under another name"):
        evaluate(path)


def test_what_repeats_itself_is_said_once() -> None:
    text = "Node number 0 (X) failed to prepare.Node number 0 (X) failed to prepare.\nAnd more."
    assert first_line(RuntimeError(text)) == "Node number 0 (X) failed to prepare"
    assert first_line(RuntimeError("a != b (1 != 2)Node number 1 failed.")) == "a != b (1 != 2) Node number 1 failed"
