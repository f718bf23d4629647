"""A real OpenSSH server on the loopback device, with keys, a port and a client configuration of its own."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        config: The client configuration, for `ssh -F`; it names the host "board" and others that fail.
        folder: Where it all is; what is in its `bin` is found first on the board.
        process: The server.
    """

    config: Path
    folder: Path
    process: subprocess.Popen[bytes]

    def cut(self) -> None:
        """End the server and all connections, as when the network goes; what runs on the board goes with them."""
        import psutil

        with contextlib.suppress(psutil.Error):
            server = psutil.Process(self.process.pid)
            for process in [server, *server.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    process.kill()
        self.process.wait()


@contextlib.contextmanager
def serve(folder: Path, port: int | None = None) -> Iterator[Server]:
    """Start a server whose users' home is `folder/home`; skips the test where there is no sshd."""
    if SSHD is None or shutil.which("ssh") is None:
        pytest.skip("no OpenSSH server: apt install openssh-server")
    if os.getuid() == 0:
        try:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where root's sshd wants to confine itself
        except OSError as e:
            pytest.skip(f"sshd needs /run/sshd: {e}")
    keys, home = folder / "keys", folder / "home"
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    home.mkdir(exist_ok=True)
    if not keys.exists():
        keys.mkdir(mode=0o700)
        for name in ("host", "user", "stranger"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys / name], check=True)
        shutil.copy(keys / "user.pub", keys / "authorized")
    port = port or _free_port()
    host_key = (keys / "host.pub").read_text().rpartition(" ")[0]
    (keys / "known").write_text(f"[127.0.0.1]:{port} {host_key}\n")
    (keys / "others").write_text(f"[127.0.0.1]:{port} {(keys / 'stranger.pub').read_text().rpartition(' ')[0]}\n")
    common = f"HostName 127.0.0.1\n  Port {port}\n  User {getpass.getuser()}\n  IdentitiesOnly yes\n"
    config = folder / "ssh_config"
    config.write_text(
        f"Host board kitchen\n  {common}  IdentityFile {keys}/user\n  UserKnownHostsFile {keys}/known\n"
        f"Host unknown\n  {common}  IdentityFile {keys}/user\n  UserKnownHostsFile /dev/null\n"
        f"Host changed\n  {common}  IdentityFile {keys}/user\n  UserKnownHostsFile {keys}/others\n"
        f"Host denied\n  {common}  IdentityFile {keys}/stranger\n  UserKnownHostsFile {keys}/known\n"
        f"Host *\n  GlobalKnownHostsFile /dev/null\n  IdentityAgent none\n"
    )
    # Every command goes through this: a home of its own, and programs of the test before the system's.
    shell = folder / "shell.sh"
    shell.write_text(
        f'#!/bin/sh\ncd "{home}"\nexport HOME="{home}" PATH="{folder}/bin:$PATH"\nexec sh -c "$SSH_ORIGINAL_COMMAND"\n'
    )
    shell.chmod(0o755)
    options = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": keys / "host",
        "AuthorizedKeysFile": keys / "authorized",
        "PidFile": "none",
        "UsePAM": "no",
        "StrictModes": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
        "ForceCommand": shell,
        # Bash reads ~/.bashrc for sshd, too: the developer's own may be slow, and may hold a lock when `cut` kills it.
        "SetEnv": f"HOME={home}",
        "MaxStartups": "20",
    }
    (folder / "sshd_config").write_text("".join(f"{k} {v}\n" for k, v in options.items()))
    log = (folder / "sshd.log").open("ab")
    process = subprocess.Popen(
        [SSHD, "-D", "-e", "-f", folder / "sshd_config"], stdout=log, stderr=log, start_new_session=True
    )
    server = Server(config, folder, process)
    try:
        _wait_for(port, process, folder / "sshd.log")
        yield server
    finally:
        server.cut()
        log.close()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if process.poll() is not None:
            pytest.skip(f"sshd does not start here: {log.read_text()[-300:]}")
        time.sleep(0.05)
    raise AssertionError(f"sshd does not answer: {log.read_text()}")


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
