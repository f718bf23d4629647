"""Boards by ssh, with a real OpenSSH server on the loopback device."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from edgepress.toolkit.cli.main import main
from edgepress.toolkit.errors import BoardError, LostError
from edgepress.toolkit.results.file import load_benchmark
from edgepress.toolkit.shipping.boards.bench import board_bench, board_info
from edgepress.toolkit.shipping.boards.ssh import Connection
from edgepress.toolkit.shipping.bundles.build import bundle

QUICK: dict[str, Any] = {"data": "digits", "items": 40, "rounds": 1, "seconds": 0.1, "max_drop": 20.0}
"""Of 40 items, 20 pp can be ruled out."""
NASTY = ["", " ", "a b", "'", '"', "$HOME", "`id`", "$(id)", "a;b", "a\nb", "*", "~", "\\", "-rf", "ä", "!1"]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., AbstractContextManager[Any]]:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "support"))
    return importlib.import_module("sshd").serve  # type: ignore[no-any-return]


@pytest.fixture
def server(serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path / "cache"))
    with serve(tmp_path / "board") as running:
        yield running


@pytest.fixture(scope="module")
def bundles(run: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A float file's bundle and an int8 file's; nothing in them depends on a test."""
    folder = tmp_path_factory.mktemp("bundles")
    names = {"tflite-float32": "float", "tflite-int8": "small"}
    made = [bundle(run.variants[s], folder / f"{n}.zip", samples=1, data="digits") for s, n in names.items()]
    return [b.path for b in made]


def program(server: Any, name: str, script: str) -> str:
    """Put a program on the board, before all others of its name."""
    path = server.folder / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return name


def noted_python(server: Any) -> tuple[str, Path]:
    """This machine's Python as the board's, which notes each of its starts in a file."""
    log = server.folder / "starts"
    return program(server, "noted-python", f'echo "$*" >> "{log}"\nexec "{sys.executable}" "$@"'), log


def test_a_board_is_measured_and_stands_in_the_table(
    server: Any, bundles: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    python, _ = noted_python(server)
    options = ["--data", "digits", "--items", "40", "--rounds", "1", "--seconds", "0.1", "--threads", "1,2"]
    options += ["--python", python, "--ssh-config", str(server.config), "--out", str(tmp_path)]
    with pytest.raises(SystemExit) as ended:
        main(["board", "bench", "board", "kitchen", *map(str, bundles), *options])
    shown = capsys.readouterr()
    assert ended.value.code == 0, shown.err
    result = load_benchmark(tmp_path)
    assert [b["name"] for b in result.boards] == ["board", "kitchen"]
    assert {(r.host, r.scheme, r.threads) for r in result.results} == {
        (host, scheme, n)
        for host in ("board", "kitchen")
        for scheme in ("tflite-float32", "tflite-int8")
        for n in (1, 2)
    }
    for row in result.results:
        assert row.p50_us is not None
        assert row.p90_us is not None
        assert 0 < row.p50_us <= row.p90_us
        assert row.accuracy is not None
        assert row.accuracy > 0.8
        assert row.status in ("usable", "unproven")
        assert row.speedup == 1 or row.scheme == "tflite-int8"
        assert (row.rounds, len(row.round_medians_us)) == (1, 1)
    board = result.boards[0]
    assert board["comparable"] is True
    assert board["machine"] == os.uname().machine
    assert board["engines"]["litert"]
    for word in ("kitchen", "tflite-int8", "Host"):
        assert word in shown.out
    assert not list((server.folder / "home").rglob("*.zip")), "the run was not tidied up"
    assert not list((tmp_path / "cache").rglob("scores-*")), "the journal was not removed"


def test_an_undervolted_run_is_not_comparable(server: Any, bundles: list[Path], tmp_path: Path) -> None:
    """The supply sags during the run: the first look is clean, later ones are not."""
    seen = server.folder / "seen"
    program(server, "vcgencmd", f'if [ -e "{seen}" ]; then echo throttled=0x50005; else echo throttled=0x0; fi')
    python = program(server, "python", f'case "$*" in *" bench "*) touch "{seen}";; esac\nexec "{sys.executable}" "$@"')
    found = board_bench(
        ["board"], bundles[1:], python=python, out=tmp_path, rounds=1, seconds=0.1, ssh_config=server.config
    )
    assert found.benchmark is not None
    (row,) = found.benchmark.results
    assert row.status.startswith("not comparable: undervoltage, throttled")
    (board,) = found.benchmark.boards
    assert not board["comparable"]
    assert (board["throttled_before"], board["throttled_after"]) == (0, 0x50005)
    assert row.accuracy is None


def test_a_lost_connection_leaves_nothing_half_written_and_is_taken_up(
    serve: Any, tmp_path: Path, bundles: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path / "cache"))
    options = QUICK | {"out": tmp_path / "out", "rounds": 2}
    with serve(tmp_path / "board") as server:
        python, log = noted_python(server)

        def cut(text: str) -> None:
            if "round 2" in text:
                server.cut()

        lost = board_bench(["board"], bundles, python=python, ssh_config=server.config, on_step=cut, **options)
        port = int(server.config.read_text().partition("Port ")[2].split()[0])
    assert lost.benchmark is None
    error = lost.failed["board"]
    assert isinstance(error, LostError)
    assert "--resume" in error.hint
    assert not (tmp_path / "out").exists()
    begun = log.read_text()
    assert begun.count("answer.py") == 2
    log.unlink()

    with serve(tmp_path / "board", port) as server:
        again = board_bench(["board"], bundles, python=python, ssh_config=server.config, resume=True, **options)
    assert not again.failed
    assert "answer.py" not in log.read_text(), "what was measured was measured again"
    assert log.read_text().count(" bench ") == 2, "the second round alone was left"
    result = load_benchmark(tmp_path / "out")
    assert result.boards[0]["resumed_pieces"] == 6  # the state before, two answers, a round of two files, its state
    assert [r.rounds for r in result.results] == [2, 2]
    assert not list((tmp_path / "board" / "home").rglob("*.zip")), "what the cut run left was not tidied up"


def test_a_board_that_fails_leaves_the_others_results(server: Any, bundles: list[Path], tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.zip"
    wrong.write_bytes(bundles[1].read_bytes())
    # A runtime that answers otherwise there: the self-test finds it, and only that file fails.
    python = program(
        server, "python", f'case "$*" in *selftest*/1/installed/*) exit 1;; esac\nexec "{sys.executable}" "$@"'
    )
    files = [bundles[0], wrong]
    found = board_bench(["board", "denied"], files, python=python, out=tmp_path, ssh_config=server.config, **QUICK)
    assert found.benchmark is not None
    assert list(found.failed) == ["denied"]
    assert "ssh-copy-id" in found.failed["denied"].hint
    status = {Path(r.file).name: r.status for r in found.benchmark.results}
    assert status["float.zip"] in ("usable", "unproven")
    assert status["wrong.zip"].startswith("failed: ")
    assert "self-test" in status["wrong.zip"]
    assert json.loads((tmp_path / "benchmark.json").read_text())["boards"][0]["name"] == "board"


@pytest.mark.parametrize("shared", [True, False])
def test_what_ssh_refuses_is_one_error_with_a_hint(shared: bool, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgepress.toolkit.shipping.boards.ssh.SHARED", shared)
    for host, said, hint in (
        ("unknown", "Host key verification failed", "ssh unknown"),
        ("changed", "Host key verification failed", "ssh-keygen -R"),
        ("denied", "Permission denied", "ssh-copy-id"),
        ("nowhere.invalid", "resolve", "raspberrypi|Raspberry"),
    ):
        with pytest.raises(BoardError, match=said) as caught:
            Connection(host, config=server.config)
        assert any(word in caught.value.hint for word in hint.split("|")), caught.value.hint


@pytest.mark.parametrize(
    "own",
    [
        "ControlMaster auto\n  ControlPath {folder}/%C\n  ControlPersist 1m",
        "RemoteCommand exit 7\n  RequestTTY force",
        "LocalForward 127.0.0.1:1 127.0.0.1:1\n  ExitOnForwardFailure yes",
        "PermitLocalCommand yes\n  LocalCommand echo disturbed",
    ],
)
def test_what_a_user_has_set_for_terminals_does_not_disturb(own: str, server: Any, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(server.config.read_text().replace("  User ", f"  {own.format(folder=tmp_path)}\n  User "))
    with Connection("board", config=config) as board:
        assert board.run(["echo", "here"]) == b"here\n"
        assert board.alive
    assert not [path for path in tmp_path.iterdir() if path.is_socket()]


@pytest.mark.parametrize("shared", [True, False], ids=["one connection", "a login each, as on Windows"])
def test_words_reach_the_board_as_they_are(shared: bool, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgepress.toolkit.shipping.boards.ssh.SHARED", shared)
    with Connection("board", config=server.config) as board:
        told = board.run([sys.executable, "-c", "import sys; print(ascii(sys.argv[1:]))", *NASTY])
        assert told.decode().strip() == ascii(NASTY)
        assert board.run(["sh", "-c", 'printf %s "$A"'], environment={"A": "'; $(id)"}) == b"'; $(id)"
        board.push({"a b.txt": b"x", "deep/c;d": b"y" * 100_000}, "it's $HOME")
        folder = server.folder / "home" / "it's $HOME"
        assert (folder / "a b.txt").read_bytes() == b"x"
        assert (folder / "deep" / "c;d").stat().st_size == 100_000
        with pytest.raises(BoardError, match=r"exit code 3 .*no luck"):
            board.run(["sh", "-c", "echo no luck >&2; exit 3"])
        with pytest.raises(BoardError, match=r"more than 0\.2 s"):
            board.run(["sleep", "5"], timeout_s=0.2)
        server.cut()
        with pytest.raises(LostError):
            board.run(["true"])


def test_info_tells_what_a_board_can_have(server: Any, capsys: pytest.CaptureFixture[str]) -> None:
    program(server, "vcgencmd", "echo throttled=0x80000")
    with pytest.raises(SystemExit) as ended:
        main(["board", "info", "board", "--ssh-config", str(server.config), "--json"])
    assert not ended.value.code
    told = json.loads(capsys.readouterr().out)
    assert told["comparable"] is True
    assert "soft temperature limit" in told["notes"][0]
    assert told["install"].startswith("python3 -m venv venv && venv/bin/python -m pip install ")  # Debian refuses pip
    with pytest.raises(BoardError, match="--python"):
        board_info("board", python="python-of-nobody", ssh_config=server.config)


def test_an_emulated_arm_board_stands_in_the_same_table(
    server: Any, run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The board's Python is Debian's for ARM, with LiteRT's ARM wheel; the workstation's results are beside it."""
    from edgepress.toolkit.measurement.benchmarking.benchmark import BenchmarkOptions, benchmark, write_benchmark

    if os.uname().machine != "x86_64":
        pytest.skip("ARM is emulated on x86-64")
    files = [run.variants[s] for s in ("tflite-float32", "tflite-int8")]
    write_benchmark(benchmark(files, data="digits", options=BenchmarkOptions(rounds=2)), tmp_path)
    script = Path(__file__).parents[1] / "support" / "arm" / "arm_python.sh"
    cache = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    settings = f'ARM_ARCH=arm64 ARM_PYTHON=3.13 ARM_WHEELS="numpy ai-edge-litert pillow" PYTHON="{sys.executable}"'
    python = program(server, "arm-python", f'{settings} XDG_CACHE_HOME="{cache}" exec "{script}" "$@"')
    options = ["--data", "digits", "--rounds", "1", "--seconds", "0.3", "--python", python, "--out", str(tmp_path)]
    with pytest.raises(SystemExit) as ended:
        main(["board", "bench", "board", *map(str, files), *options, "--ssh-config", str(server.config)])
    shown = capsys.readouterr()
    assert ended.value.code == 0, shown.err
    result = load_benchmark(tmp_path)
    assert result.boards[0]["machine"] == "aarch64"
    rows = {(r.host, r.scheme): r for r in result.results if r.engine == "litert"}
    assert rows.keys() == {(h, s) for h in ("", "board") for s in ("tflite-float32", "tflite-int8")}
    for scheme in ("tflite-float32", "tflite-int8"):
        there, here = rows["board", scheme], rows["", scheme]
        assert there.accuracy == here.accuracy
        assert there.correct == here.correct
        assert there.p50_us
    with capsys.disabled():
        print("\n" + shown.out)
