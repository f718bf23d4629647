"""Passwords of keys, and advice on where to keep keys."""

from __future__ import annotations

import os

import typer

from edgepress.toolkit.cli import screen
from edgepress.toolkit.errors import InputError

VARIABLE = "EDGEPRESS_KEY_PASSWORD"
"""Variable of the environment with the password; `publishing.keys` reads the same."""
KEEP = (
    "Keep the keys like this:",
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
