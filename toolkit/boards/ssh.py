"""A board by ssh: the plain OpenSSH client, with the user's own keys, configuration and known hosts.

One connection a board (a ControlMaster of our own) carries every command, so that each costs a round trip and no login.
Nothing is asked on the terminal, and no check of a host's key is switched off: what would need either is an error that
says what to do once by hand. When the connection is lost, whatever is running fails with `LostError`; nothing
connects again by itself.

    >>> with Connection("pi@kitchen") as board:                     # doctest: +SKIP
    ...     board.run(["uname", "-m"]).decode().strip()
    'aarch64'
"""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from edgepress.toolkit.errors import BoardError, InputError, LostError

CONNECT_S = 15
LOST_FAILURE = 255
"""What ssh exits with where it failed itself. A remote command that does so, too, is taken for a lost connection."""
OPTIONS = (
    *("BatchMode=yes", f"ConnectTimeout={CONNECT_S}", "ServerAliveInterval=5", "ServerAliveCountMax=3"),
    # What a user's configuration may say for terminals, and what would end our connection or its commands.
    *("ControlPersist=no", "RemoteCommand=none", "PermitLocalCommand=no", "ClearAllForwardings=yes"),
)

HINTS = (
    (
        r"Permission denied|Too many authentication failures",
        "Let ssh in without a password: ssh-copy-id {host}, and ssh-add for a key with a passphrase.",
    ),
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "Another machine answers, or the board was set up anew. If that is so: ssh-keygen -R {name}",
    ),
    (r"Host key verification failed", "Connect once by hand and check the key's fingerprint: ssh {host}"),
    (r"Could not resolve hostname", "Check the name; a Raspberry Pi answers to NAME.local in most networks."),
    (r"refused|timed out|No route", "Is the board on, in this network, and ssh enabled (raspi-config)?"),
)
"""What ssh says, and what to do about it."""


class Connection:
    """An open connection to a board; make it in a `with` block.

    Args:
        host: What ssh takes: NAME, USER@NAME, ssh://USER@NAME:PORT, or a name of the user's configuration.
        config: Another configuration file than the user's own, as `ssh -F`.

    Raises:
        InputError: `host` can't be one.
        BoardError: There is no connection; the hint says what to do.
    """

    def __init__(self, host: str, *, config: str | Path | None = None) -> None:
        self.host = checked_host(host)
        # A socket's path has at most 107 bytes, of which ssh needs some while it makes it.
        short = None if len(tempfile.gettempdir()) < 50 else "/tmp"
        self._folder = tempfile.TemporaryDirectory(prefix="edgepress-ssh-", dir=short)
        socket = Path(self._folder.name) / "s"
        options = [word for option in (*OPTIONS, f"ControlPath={socket}") for word in ("-o", option)]
        self._ssh = ["ssh", *(["-F", str(config)] if config else []), *options]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        # In a session of its own, so that Ctrl-C leaves it alive for tidying up.
        self._master: subprocess.Popen[bytes] | None = None
        try:
            self._master = subprocess.Popen(
                [*self._ssh, "-M", "-N", "-T", "--", self.host],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                start_new_session=True,
            )
            until = time.monotonic() + CONNECT_S + 15
            while not socket.exists():
                if self._master.poll() is not None or time.monotonic() > until:
                    raise self._failed("can't be reached")
                time.sleep(0.02)
        except FileNotFoundError as e:
            self.close()
            raise BoardError("There is no ssh on this machine.", "Install OpenSSH: apt install openssh-client") from e
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        if self._master is not None:
            self._master.terminate()
            self._master.wait()
        self._log.close()
        self._folder.cleanup()

    @property
    def alive(self) -> bool:
        """Whether the connection stands, as far as is known."""
        return self._master is not None and self._master.poll() is None

    def run(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        folder: str | None = None,
        stdin: bytes | IO[bytes] = b"",
        timeout_s: float = 60.0,
    ) -> bytes:
        """Run a program on the board and give what it wrote to stdout.

        Args:
            command: The program and its arguments, as they are: each is quoted for the board's shell.
            environment: Variables to set for it.
            folder: Folder to run it in, from the user's home.
            stdin: What it reads: bytes, or a file opened here.
            timeout_s: Seconds that it may take.

        Raises:
            BoardError: It ended with an exit code but 0, or took too long; the message has its last words.
            LostError: The connection ended.
        """
        words = shlex.join(["env", *(f"{k}={v}" for k, v in (environment or {}).items()), *command])
        line = f"cd {shlex.quote(folder)} && exec {words}" if folder is not None else f"exec {words}"
        # A shell that is known, as the user's own may be any.
        ssh = [*self._ssh, "-T", "--", self.host, shlex.join(["sh", "-c", line])]
        if not self.alive:  # or ssh would connect anew, in the middle of a measurement
            raise self._failed("was lost", LostError)
        source: dict[str, Any] = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
        try:
            done = subprocess.run(ssh, capture_output=True, timeout=timeout_s, **source)
        except subprocess.TimeoutExpired as e:
            raise BoardError(f"{Path(command[0]).name} took more than {timeout_s:g} s on {self.host}.") from e
        if done.returncode == 0:
            return bytes(done.stdout)
        if done.returncode == LOST_FAILURE or done.returncode < 0:  # Ctrl-C ends our ssh, too
            raise LostError(f"The connection to {self.host} was lost. {_last_words(done.stderr)}".strip())
        said = _last_words(done.stderr) or _last_words(done.stdout) or "it said nothing"
        raise BoardError(f"{Path(command[0]).name} ended with exit code {done.returncode} on {self.host}: {said}")

    def push(self, members: Mapping[str, bytes | Path], folder: str) -> None:
        """Write files into a folder of the board, which is made if missing.

        Args:
            members: By the path in that folder, what to write: bytes, or a file here.
            folder: From the user's home.

        Raises:
            BoardError: As of `run`.
        """
        with tempfile.TemporaryFile() as spool:
            with tarfile.open(fileobj=spool, mode="w") as tar:
                for name, content in members.items():
                    info = tarfile.TarInfo(name)
                    info.mode = 0o755 if name.endswith(".sh") else 0o644
                    if isinstance(content, Path):
                        info.size = content.stat().st_size
                        with content.open("rb") as f:
                            tar.addfile(info, f)
                    else:
                        info.size = len(content)
                        tar.addfile(info, io.BytesIO(content))
            spool.seek(0)
            self.run(["mkdir", "-p", "--", folder])
            self.run(["tar", "-x", "-f", "-"], folder=folder, stdin=spool, timeout_s=3600)

    def _failed(self, what: str, kind: type[BoardError] = BoardError) -> BoardError:
        self._log.seek(0)
        said = self._log.read().decode(errors="replace")
        name = self.host.rpartition("@")[2]
        hint = next((h.format(host=self.host, name=name) for pattern, h in HINTS if re.search(pattern, said)), "")
        return kind(f"{self.host} {what}: {_last_words(said.encode()) or 'ssh said nothing.'}", hint)


def checked_host(host: str) -> str:
    """The name of a board, if ssh can take it for nothing else.

    Raises:
        InputError: It is empty, begins with "-", or holds spaces, control characters or what a shell would read.
    """
    if not re.fullmatch(r"[\w.:@%+/\[\]][\w.:@%+/\[\]-]*", host) or "@-" in host or "//-" in host:
        raise InputError(f"{host!r} is not a host.", "Accepted: NAME, USER@NAME, ssh://USER@NAME:PORT.")
    return host


def _last_words(text: bytes) -> str:
    """The last line that a program wrote, or all from the last one that begins with "Error:"."""
    lines = [line.strip() for line in text.decode(errors="replace").splitlines() if line.strip()]
    begin = max((i for i, line in enumerate(lines) if line.startswith("Error:")), default=len(lines) - 1)
    return " ".join(lines[max(0, begin) :]).removeprefix("Error: ")
