"""Passwords of keys, advice on where to keep keys, and what is to be trusted."""

from __future__ import annotations

import os
from typing import Any

import typer

from edgepress.toolkit.cli import screen
from edgepress.toolkit.errors import InputError

VARIABLE = "EDGEPRESS_KEY_PASSWORD"
"""Variable of the environment with the password; `publishing.keys` reads the same."""
KEEP = (
    "Keep the keys like this, each with a copy of trusted.json, which says what the folder was signed with:",
    "- root: move each file to a medium of its own, such as a USB stick, keep these in different places, and delete the"
    " files here. They are needed once a year and to replace stolen keys. If all are lost, boards can't be given other"
    " keys, and each needs a new bundle by hand. If one is stolen, replace it at once: publish rotate --role root.",
    "- targets: keep it on the machine on which you publish, and a copy. Whoever has it and the online key can install"
    " anything on all boards, until publish rotate --role targets.",
    "- online: it signs that the folder is the newest state, every few days, so cron may use it: publish renew.",
)
"""Lines that `publish init` prints."""


def ask_password(name: str) -> str:
    """Ask for the password of a key; an empty text if nobody can be asked or the variable has it."""
    if os.environ.get(VARIABLE) or not screen.can_ask():
        return ""
    return str(typer.prompt(f"Password of {name}", hide_input=True, err=True))


def new_password() -> str:
    """The password for new keys: the variable's, or one that is typed twice.

    Raises:
        InputError: There is none.
    """
    password = os.environ.get(VARIABLE, "")
    if not password and screen.can_ask():
        password = str(typer.prompt("Password of the new keys", hide_input=True, confirmation_prompt=True, err=True))
    if not password:
        raise InputError(
            "There is no password to encrypt the keys with.", f"Set {VARIABLE}, or run this in a terminal."
        )
    return password


def show_trusted(document: dict[str, Any], *, ask: bool) -> bool:
    """Show on stderr what `publish trust` is to write; whether the user agrees.

    Raises:
        InputError: Nobody can be asked.
    """
    releases = [
        f"{each['name']} {each['release']}{' (withdrawn)' * each['withdrawn']}" for each in document["releases"]
    ]
    lines = [
        f"Verified from version {document['anchor']['version']} of the list of trusted keys, SHA-256 "
        f"{document['anchor']['sha256']}. Compare it with what you know.",
        f"Newest version: {document['root_version']}, SHA-256 {document['root_sha256']}",
        *(
            f"Keys of {role}, {row['threshold']} must sign: {' '.join(row['ids'])}"
            for role, row in document["keys"].items()
        ),
        *(f"{role}: version {row['version']}, expires {row['expires']}" for role, row in document["lists"].items()),
        f"Releases: {', '.join(releases) or 'none'}",
        f"Address: {document['url'] or 'none'}",
    ]
    for line in lines:
        screen.note(line)
    if not ask:
        return True
    if not screen.can_ask():
        raise InputError("Nobody can be asked whether this is right.", "Compare it, and give --yes.")
    return typer.confirm("Trust this?", err=True)
