"""Sign bundles with OpenSSH, and check signatures: `app.zip.sig` next to `app.zip`.

`ssh-keygen -Y` signs and checks files (OpenSSH 8.1 and newer; format: PROTOCOL.sshsig in its sources). The signature
covers the whole file, so it can be checked before anything is unpacked, on the workstation or the board, by a tool that
is independent of edgepress and the bundle. docs/bundle.md compares alternatives.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
from pathlib import Path

from edgepress.converters.scratch import ScratchFolder
from edgepress.toolkit.errors import BundleError, InputError

NAMESPACE = "edgepress-bundle"
"""Purpose of the signature; signatures for other purposes are rejected."""
SIGNER = "signer"
_PUBLIC_KEY = re.compile(r"(ssh|sk-ssh|ecdsa|sk-ecdsa|rsa)-[\w@.-]+ [A-Za-z0-9+/=]+")


def signature_path(bundle: Path) -> Path:
    """The path of a bundle's signature."""
    return bundle.with_name(bundle.name + ".sig")


def sign(bundle: Path, key: Path) -> bytes:
    """Sign a file; returns the signature as armoured text.

    Args:
        bundle: The file.
        key: An OpenSSH private key (`ssh-keygen -t ed25519`), or the public key if an agent has the private one.

    Raises:
        InputError: The key does not exist, or ssh-keygen is missing.
        BundleError: ssh-keygen could not sign with it.
    """
    if not key.is_file():
        raise InputError(f"The key {key} does not exist.", "Create one: ssh-keygen -t ed25519 -f KEY")
    return _ssh_keygen(bundle, "sign", "-f", str(key), "-n", NAMESPACE)


def check_signature(bundle: Path, signature: Path, key: Path) -> str:
    """Check a signature and return the signer.

    Args:
        bundle: The file.
        signature: Its signature.
        key: A public key (`.pub`), or a file of allowed signers (ssh-keygen(1), ALLOWED SIGNERS).

    Returns:
        The signer's name in the file of allowed signers, or the comment of the public key.

    Raises:
        InputError: The key can't be read, or ssh-keygen is missing.
        BundleError: There is no signature, or it was not made with this key for this file.
    """
    try:
        text = key.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"The key {key} can't be read: {e}.", "Give a public key (.pub) or allowed signers.") from e
    if "PRIVATE KEY" in text:
        raise InputError(f"{key} is a private key.", f"Give the public key: {key}.pub")
    if not signature.is_file():
        raise BundleError(f"{bundle} has no signature: {signature} does not exist.", "Do not install it.")
    name = None
    with ScratchFolder() as folder:
        allowed = key
        if _PUBLIC_KEY.match(text):
            allowed = Path(folder) / "allowed_signers"
            allowed.write_text(f'{SIGNER} namespaces="{NAMESPACE}" {text.strip()}\n', encoding="utf-8")
            name = " ".join(text.split()[2:]) or key.name
        where = ("-f", str(allowed), "-s", str(signature))
        try:
            principals = _ssh_keygen(bundle, "find-principals", *where).decode().splitlines()
            principal = principals[0] if principals else ""
            _ssh_keygen(bundle, "verify", *where, "-I", principal, "-n", NAMESPACE)
        except BundleError as e:
            raise BundleError(f"{bundle} was not signed with a key in {key}: {e.message}", "Do not install it.") from e
    return name or principal


def check_made_for(bundle: Path, signature: Path) -> None:
    """Check that a signature belongs to a file, whoever made it; nothing is checked where ssh-keygen is missing.

    Raises:
        BundleError: It does not.
    """
    with contextlib.suppress(InputError):
        try:
            _ssh_keygen(bundle, "check-novalidate", "-n", NAMESPACE, "-s", str(signature))
        except BundleError as e:
            problem = f"{signature} is not a signature of {bundle} as it is now: {e.message}"
            raise BundleError(problem, f"Do not install it. If you changed it yourself, remove {signature}.") from e


def _ssh_keygen(bundle: Path, action: str, *arguments: str) -> bytes:
    try:
        with bundle.open("rb") as file:
            process = subprocess.run(["ssh-keygen", "-Y", action, *arguments], stdin=file, capture_output=True)
    except FileNotFoundError as e:
        if e.filename != "ssh-keygen":
            raise
        raise InputError("ssh-keygen is not installed.", "Install OpenSSH's client: openssh-client on Debian.") from e
    if process.returncode:
        reason = (process.stderr or process.stdout).decode(errors="replace").strip().splitlines()
        raise BundleError(f"ssh-keygen -Y {action} failed: {reason[-1] if reason else 'no reason given'}")
    return process.stdout
