"""The commands `board push` and `board fleet`, which install bundles on boards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from edgepress.toolkit.cli import options, screen
from edgepress.toolkit.cli.frame import code_of

if TYPE_CHECKING:
    from edgepress.toolkit.boards.push import Pushed

Bundle = Annotated[Path, Argument(help="Bundle to install, of edgepress bundle")]
Prefix = Annotated[
    str, Option(help="Folder of the installation on the board", show_default="that of install.sh, for the user")
]
Sudo = Annotated[bool, Option("--sudo", help="Install as root, by sudo -n")]
Python = Annotated[
    str,
    Option(
        help="Python on the board that has the packages, for a first installation",
        show_default="python3, with the bundle's packages",
    ),
]
Shadow = Annotated[
    int | None,
    Option(min=0, help="Frames that both releases answer before the switch", show_default="as the bundle says"),
]
Key = Annotated[
    Path | None,
    Option(help="Public key, or file of allowed signers, that must have signed the bundle", show_default="no check"),
]
TrustKeys = Annotated[
    str,
    Option(
        metavar="SHA256",
        help="Trust the keys of the bundle instead of those of the board; the board's refusal says the hash",
        show_default="the board's",
    ),
]
SshConfig = Annotated[Path | None, Option(help="Configuration file of ssh, as for ssh -F", show_default="the user's")]


def push(
    host: Annotated[str, Argument(help="Board, as for ssh: NAME, USER@NAME, ssh://USER@NAME:PORT")],
    bundle: Bundle,
    prefix: Prefix = "",
    sudo: Sudo = False,
    python: Python = "",
    shadow: Shadow = None,
    key: Key = None,
    trust_keys: TrustKeys = "",
    ssh_config: SshConfig = None,
    json_output: options.Json = False,
) -> None:
    """Install a bundle on a board as an update does: beside, self-test, shadow run, switch, watch."""
    from edgepress.toolkit.boards.push import Installing
    from edgepress.toolkit.boards.push import push as work

    how = Installing(prefix, sudo, python, shadow, ssh_config, trust_keys)
    pushed = work(host, bundle, key=key, how=how, on_step=screen.step)
    if json_output:
        screen.document(pushed.to_dict())
        return
    if pushed.state == "up to date":
        screen.say(f"{host} has this release already.")
    else:
        screen.say(f"{host}: {_release(pushed.after)} is in use; before: {_release(pushed.before)}.")


def fleet(
    file: Annotated[Path, Argument(help="Boards, one a line, as for ssh; or a .toml file with hosts = [...]")],
    bundle: Bundle,
    jobs: Annotated[int, Option(min=1, max=200, help="Boards at a time")] = 8,
    max_failures: Annotated[int, Option(min=1, help="Begin no further board when so many have failed")] = 1,
    prefix: Prefix = "",
    sudo: Sudo = False,
    python: Python = "",
    shadow: Shadow = None,
    key: Key = None,
    trust_keys: TrustKeys = "",
    ssh_config: SshConfig = None,
    json_output: options.Json = False,
) -> int:
    """Install a bundle on many boards; boards that have the release are skipped, so a call can be repeated."""
    from edgepress.toolkit.boards.fleet import DONE
    from edgepress.toolkit.boards.fleet import fleet as work
    from edgepress.toolkit.boards.push import Installing

    how = Installing(prefix, sudo, python, shadow, ssh_config, trust_keys)
    result = work(file, bundle, jobs=jobs, max_failures=max_failures, key=key, how=how, on_step=screen.step)
    if json_output:
        screen.document(result.to_dict())
    else:
        columns = [("Board", "left"), ("State", "left"), ("Before", "right"), ("Now", "right"), ("Time", "right")]
        screen.show(screen.table([*columns, ("Why", "left")], [_row(board) for board in result.boards]))
        screen.say(", ".join(f"{count} {state}" for state, count in result.counts.items()), style="bold")
        if result.counts.get("not tried"):
            screen.note("After the failures no further board was begun; see --max-failures, or call it again.")
    return code_of(board.state in DONE for board in result.boards)


def _row(board: Pushed) -> list[str]:
    numbers = ["" if number is None else str(number) for number in (board.before, board.after)]
    time = f"{board.seconds:.1f} s" if board.seconds else ""
    return [board.host, board.state, *numbers, time, str(board.error) if board.error is not None else ""]


def _release(number: int | None) -> str:
    return "nothing" if number is None else f"release {number}" if number else "a release without a number"
