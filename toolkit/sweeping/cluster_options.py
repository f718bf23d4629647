"""The options that say which cluster does the jobs of a sweep, and the check that nobody else can use it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from edgepress.toolkit.errors import InputError

MOST_WORKERS = 256
"""Most worker processes on this machine."""


@dataclass(frozen=True)
class Where:
    """Which cluster, as options say it; checked.

    Attributes:
        scheduler: Address of a scheduler; "" for a cluster of this machine.
        count: Number of workers of that.
        tls: "ca", "cert" and "key": paths of certificates; empty for none.
    """

    scheduler: str = ""
    count: int = 0
    tls: Mapping[str, Path] | None = None

    @classmethod
    def of(
        cls,
        cluster: str | None = None,
        scheduler: str | None = None,
        *,
        tls_ca: Path | None = None,
        tls_cert: Path | None = None,
        tls_key: Path | None = None,
        insecure: bool = False,
    ) -> Where:
        """Check the options of a cluster.

        Args:
            cluster: "local:N" for N workers on this machine.
            scheduler: Address of a scheduler: tcp://HOST:PORT or tls://HOST:PORT.
            tls_ca: Certificate of the authority that signed those of the cluster; PEM, as the next two.
            tls_cert: Certificate of this client.
            tls_key: Its key.
            insecure: Whether tcp:// is accepted for another machine.

        Raises:
            InputError: They contradict each other, or the connection would be open to others.
        """
        files = {"ca": tls_ca, "cert": tls_cert, "key": tls_key}
        tls = {name: path for name, path in files.items() if path is not None}
        if (cluster is None) == (scheduler is None):
            raise InputError(
                "Give either a cluster or a scheduler.", "--cluster local:4, or --scheduler tls://HOST:PORT."
            )
        if cluster is not None:
            if tls or insecure:
                raise InputError("A cluster on this machine uses loopback only.", "Leave out the TLS options.")
            name, _, number = cluster.partition(":")
            if name != "local" or not number.isdecimal() or not 1 <= int(number) <= MOST_WORKERS:
                raise InputError(f"The cluster {cluster!r} is unknown.", f"Accepted: local:1 to local:{MOST_WORKERS}.")
            return cls(count=int(number))
        assert scheduler is not None
        cls._check_address(scheduler, tls, insecure=insecure)
        return cls(scheduler=scheduler, tls=tls or None)

    @staticmethod
    def _check_address(scheduler: str, tls: Mapping[str, Path], *, insecure: bool) -> None:
        url = urlsplit(scheduler)
        try:
            host = url.hostname
            port = url.port
        except ValueError:
            host = port = None
        if url.scheme not in ("tcp", "tls") or not host or not port or url.path or url.username:
            raise InputError(
                f"The scheduler {scheduler!r} is not a valid address.", "Accepted: tcp://HOST:PORT, tls://HOST:PORT."
            )
        missing = [f"--tls-{name}" for name in ("ca", "cert", "key") if name not in tls]
        if url.scheme == "tls" and missing:
            raise InputError(f"{scheduler} needs certificates; {', '.join(missing)} is missing.", "Name the PEM files.")
        if url.scheme == "tcp" and tls:
            raise InputError(
                f"{scheduler} is not encrypted, so certificates are of no use.", "Write tls://, not tcp://."
            )
        if url.scheme == "tcp" and not insecure and not _is_loopback(host):
            raise InputError(
                f"Whoever reaches {scheduler} can run any code on its workers, and connections are not encrypted.",
                "Use tls:// with --tls-ca, --tls-cert and --tls-key; or --insecure in a network that only you use.",
            )
        for name, path in tls.items():
            if not path.is_file():
                raise InputError(f"There is no file {path} for --tls-{name}.", "Check the path.")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
