"""`diagnose --engines ...,board:HOST`: operations on a board, with a real OpenSSH server on the loopback device."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from c99_graphs import graph
from sshd import serve

from edgepress.converters.to_c.lowering import lower
from edgepress.toolkit.cli.main import main
from edgepress.toolkit.diagnosis.engines.diagnose import diagnose_engines
from edgepress.toolkit.diagnosis.engines.outputs import HEADER_BYTES, read_outputs
from edgepress.toolkit.errors import BoardError, InputError
from edgepress.toolkit.shipping.boards import remote_outputs

NESTED = b"[" * 200_000 + b"\n"
PADDED = b'{"engine": "a", "version": "1", "machine": "%s"}\n' % (b"x" * HEADER_BYTES)
ANSWER = b'{"engine": "litert", "version": "1", "machine": "m"}\n'


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Any]:
    """A board whose python3 is this one."""
    with serve(tmp_path / "board") as running:
        python3(running, f'exec {sys.executable} "$@"')
        yield running


def python3(server: Any, script: str) -> None:
    path = server.folder / "bin" / "python3"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    path = tmp_path / "chain-1.tflite"
    path.write_bytes(graph("chain-1"))
    return path


def test_the_first_operation_that_a_board_computes_differently_is_named(
    server: Any, chain: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    comparison = diagnose_engines(chain, ["litert", "board:board", "c99"], samples=12, ssh_config=server.config)
    assert comparison.pairs[0].engines == ("litert", "board:board")
    assert comparison.pairs[0].first is None, "the board is this machine"
    assert any(note.startswith("board:board: litert ") for note in comparison.notes)
    assert not list((server.folder / "home").rglob("*.tflite")), "what was copied stays on the board"
    words = ["diagnose", str(chain), "--engines", "board:board,c99", "--samples", "12", "--json"]
    with pytest.raises(SystemExit, match="0"):
        main([*words, "--ssh-config", str(server.config)])
    (pair,) = json.loads(capfd.readouterr().out)["pairs"]
    assert pair["first"]["kind"] == "CONV_2D"
    assert "XNNPACK rounds a result once" in pair["first"]["why"]


def test_an_engine_of_an_installed_bundle_is_used(server: Any, chain: Path) -> None:
    """python3 finds none: -S leaves out the packages."""
    python3(server, f'exec {sys.executable} -S "$@"')
    with pytest.raises(BoardError, match="has LiteRT or tflite-runtime") as caught:
        diagnose_engines(chain, ["c99", "board:board"], samples=2, ssh_config=server.config)
    assert "edgepress board push board" in caught.value.hint
    installed = server.folder / "home" / ".local" / "share" / "edgepress" / "app" / "current"
    installed.mkdir(parents=True)
    (installed / "interpreter").write_text(f"{sys.executable}\n")
    for name, text in (("a", "/gone/python\n"), ("aa", str(server.folder)), ("ab", ""), ("ac", "a\0b")):
        broken = installed.parents[1] / name / "current"
        broken.mkdir(parents=True)
        (broken / "interpreter").write_text(text)
    (installed.parents[1] / "ad" / "current" / "interpreter").mkdir(parents=True)
    comparison = diagnose_engines(chain, ["litert", "board:board"], samples=2, ssh_config=server.config)
    assert comparison.pairs[0].first is None
    assert not (server.folder / "home" / ".cache" / "edgepress").exists()


def test_a_board_that_fails_is_one_error(server: Any, chain: Path) -> None:
    for script, text in (
        ("echo hello", "did not say what ran the file"),
        ("exec yes", "wrote more than"),
        ("exit 3", "exit code 3"),
    ):
        python3(server, script)
        with pytest.raises(BoardError, match=text) as caught:
            diagnose_engines(chain, ["c99", "board:board"], samples=1, ssh_config=server.config)
        assert "Install a bundle there" not in caught.value.hint
    with pytest.raises(BoardError, match="can't be reached"):
        diagnose_engines(chain, ["c99", "board:denied"], samples=1, ssh_config=server.config)
    with pytest.raises(InputError, match="is not a host"):
        diagnose_engines(chain, ["c99", "board:-oProxyCommand=id"], samples=1, ssh_config=server.config)


def test_what_a_board_returns_is_read_by_its_length(chain: Path) -> None:
    tensors = [operation.output for operation in lower(chain).graph.operations]
    size = sum(tensor.size for tensor in tensors)
    content = bytes(range(256)) * (2 * size // 256 + 1)
    answer = read_outputs("kitchen", ANSWER + content[: 2 * size], tensors, 2 * size)
    assert (answer.engine, answer.about) == ("litert", "litert 1 on m")
    assert [row[tensors[0].index][0].tobytes() for row in answer.outputs] == [content[:1], content[size : size + 1]]
    for damaged in (
        ANSWER + content[: 2 * size - 1],
        ANSWER,
        content,
        b"[]\n",
        b"{}\n",
        b"",
        b"\xff" * HEADER_BYTES,
        NESTED,
        PADDED,
    ):
        with pytest.raises(BoardError):
            read_outputs("kitchen", damaged, tensors, 2 * size)


def test_the_script_names_engines_by_their_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    assert remote_outputs.load_engine()[0] == "litert"
    monkeypatch.setattr(remote_outputs, "ENGINES", ())
    monkeypatch.setattr(remote_outputs, "INSTALLED", ())
    with pytest.raises(SystemExit, match="Error: neither python3 nor"):
        remote_outputs.load_engine()
    assert remote_outputs.version_of("no-such-package") == ""


def test_options_that_do_nothing_are_refused_and_boards_are_listed(
    chain: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="1"):
        main(["diagnose", str(chain), "--ssh-config", str(tmp_path)])
    assert "--ssh-config is for boards in --engines" in capfd.readouterr().err.replace("\n", " ")
    with pytest.raises(InputError) as caught:
        diagnose_engines(chain, ["c99", "gpu"])
    assert "board:HOST" in str(caught.value)
