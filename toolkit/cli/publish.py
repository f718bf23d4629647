"""The commands `publish`, `publish init`, `rotate`, `withdraw`, `renew`, `check` and `trust`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer import Argument, Option

from edgepress.toolkit.arguments import call_with
from edgepress.toolkit.cli import options, screen
from edgepress.toolkit.cli.frame import command
from edgepress.toolkit.cli.help import HelpfulGroup
from edgepress.toolkit.cli.publish_keys import KEEP, ask_password, new_password, show_trusted
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.shipping.bundles.boards import BOARDS
from edgepress.toolkit.text import percent

if TYPE_CHECKING:
    from edgepress.toolkit.shipping.publishing.publish import Published

LIMIT_NOT_MET = 3
"""Exit code of `publish check` if a list expires too soon."""
To = Annotated[Path, Option("--to", help="Published folder, which a web server, a share or a USB stick serves")]
Keys = Annotated[list[Path], Option("--keys", help="Folder of private keys; may be repeated")]
Encrypt = Annotated[
    bool, Option("--encrypt", help="Encrypt the new keys with a password, asked for or from EDGEPRESS_KEY_PASSWORD")
]


class PublishGroup(HelpfulGroup):
    """Takes `publish BUNDLE...` as `publish add BUNDLE...`, and `publish --check` as `publish check`."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Put the name of the command in front of words that begin with none."""
        if "--check" in args:
            args = ["check", *(word for word in args if word != "--check")]
        elif args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["add", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(help="Publish bundles in a folder from which boards take their updates.")
group = PublishGroup


@app.command()
@command
def init(
    to: To,
    keys: Annotated[Path, Option(help="Folder for the private keys; not below the published one")],
    url: Annotated[
        str, Option(help="Address at which a web server serves the folder", show_default="boards are told with --from")
    ] = "",
    root_keys: Annotated[int, Option(min=1, max=10, help="Keys that sign which keys boards trust")] = 2,
    root_threshold: Annotated[int, Option(min=1, max=10, help="How many of these must sign")] = 1,
    targets_keys: Annotated[int, Option(min=1, max=10, help="Keys that sign which bundles there are")] = 1,
    targets_threshold: Annotated[int, Option(min=1, max=10, help="How many of these must sign")] = 1,
    encrypt: Encrypt = False,
    json_output: options.Json = False,
) -> None:
    """Begin a published folder, and make the keys that sign it."""
    from edgepress.toolkit.shipping.publishing.start import init as work

    begun = call_with(work, locals(), password=new_password() if encrypt else None)
    if json_output:
        screen.document(begun.to_dict())
        return
    for role, paths in begun.keys.items():
        screen.say(f"Keys of the role {role}: {', '.join(map(str, paths))}")
    for line in KEEP:
        screen.say(line)
    screen.say(f"The list of trusted keys expires on {begun.expires:%Y-%m-%d}. Next:")
    command = shell_line("edgepress", "bundle", "MODEL", "--updates", to, "--keys", keys)
    screen.shell_command(f"  {command}", style="bold")


@app.command()
@command
def add(
    bundles: Annotated[list[Path], Argument(help="Bundles made with edgepress bundle --updates")],
    to: To,
    keys: Keys,
    channel: Annotated[
        Literal["stable", "beta"], Option(help="Boards that take the releases: beta is for those that take them first")
    ] = "stable",
    share: Annotated[str, Option(metavar="SHARE", help="Share of these boards, such as 10%")] = "100%",
    board_type: Annotated[
        str | None,
        options.Several(
            help=f"Types of boards, separated by commas: {', '.join(BOARDS)}",
            show_default="all that the bundle has packages for",
            autocompletion=options.list_of(BOARDS),
        ),
    ] = None,
    json_output: options.Json = False,
) -> None:
    """Publish bundles, or change channel and share of published ones; the word add may be left out."""
    from edgepress.toolkit.shipping.publishing.publish import publish as work

    published = call_with(work, locals(), board_type=board_type or "", ask=ask_password, on_step=screen.step)
    _show(published, json_output)


@app.command()
@command
def rotate(
    to: To,
    keys: Keys,
    role: Annotated[
        Literal["root", "targets", "online", "none"],
        Option(help="Role whose keys are replaced; none: the list of trusted keys is signed for another year"),
    ],
    lost: Annotated[bool, Option("--lost", help="Do without the former keys of the role")] = False,
    new_keys: Annotated[
        Path | None, Option(help="Folder for the new keys", show_default="the first folder of --keys")
    ] = None,
    encrypt: Encrypt = False,
    json_output: options.Json = False,
) -> None:
    """Replace the keys of a role, such as stolen ones, or renew the list of trusted keys."""
    from edgepress.toolkit.shipping.publishing.start import rotate as work

    password = new_password() if encrypt else None
    begun = work(to, list(keys), role=role, lost=lost, new_keys=new_keys, password=password, ask=ask_password)
    if json_output:
        screen.document(begun.to_dict())
        return
    for each, paths in begun.keys.items():
        screen.say(f"New keys of the role {each}: {', '.join(map(str, paths))}")
    screen.say(f"Version {begun.root_version} of the list of trusted keys expires on {begun.expires:%Y-%m-%d}.")


@app.command()
@command
def withdraw(
    name: Annotated[str, Argument(help="Name of the application")],
    release: Annotated[int, Argument(help="Number of the release")],
    to: To,
    keys: Keys,
    json_output: options.Json = False,
) -> None:
    """Let no further board install a release; boards that run it keep it until a newer one is published."""
    from edgepress.toolkit.shipping.publishing.publish import withdraw as work

    _show(work(name, release, to, keys=keys, ask=ask_password), json_output)


@app.command()
@command
def renew(
    to: To,
    keys: Keys,
    all_lists: Annotated[
        bool, Option("--all", help="Sign the list of bundles, too, with the keys of the role targets")
    ] = False,
    redate: Annotated[
        bool, Option("--redate", help="As --all, and date the lists of releases now, after the clock was ahead")
    ] = False,
    json_output: options.Json = False,
) -> None:
    """Sign the newest state again before its signatures expire; for cron, with the key of the role online."""
    from edgepress.toolkit.shipping.publishing.publish import renew as work

    _show(work(to, keys=keys, all_lists=all_lists, redate=redate, ask=ask_password), json_output)


@app.command()
@command
def check(
    to: To,
    keys: Annotated[
        list[Path], Option("--keys", help="Folder of keys, of which only trusted.json is read; may be repeated")
    ],
    days: Annotated[float, Option(min=0, help="Warn of lists that expire in fewer days")] = 7.0,
    json_output: options.Json = False,
) -> int:
    """Check files and signatures, and exit with 3 if a list expires soon; also as publish --check."""
    from edgepress.toolkit.shipping.publishing.trust import check as work

    checked = work(to, keys=keys, days=days)
    if json_output:
        screen.document(checked.to_dict())
        return 0 if checked.passed else LIMIT_NOT_MET
    rows = [
        [each.role, str(each.version), f"{each.expires:%Y-%m-%d %H:%M} UTC", "soon" if each.soon else ""]
        for each in checked.lists
    ]
    columns = [("List", "left"), ("Version", "right"), ("Expires", "left"), ("State", "left")]
    screen.show(screen.table(columns, rows))
    screen.say(f"{checked.targets} files are complete.")
    screen.say(f"SHA-256 of the list of trusted keys: {checked.root_sha256}")
    for role, ids in checked.keys.items():
        screen.say(f"Keys of {role}: {' '.join(ids)}")
    if not checked.passed:
        screen.say(f"Lists expire in fewer than {days:g} days; boards then refuse the folder.", style="bold yellow")
        for command in checked.commands:
            screen.next_command(command)
    return 0 if checked.passed else LIMIT_NOT_MET


@app.command()
@command
def trust(
    to: To,
    keys: Keys,
    source: Annotated[
        Path | None,
        Argument(
            metavar="FILE",
            help="Bundle, or root.json of a board (current/updates/root.json), to trust its keys",
            show_default="trusted.json in the folders of keys",
        ),
    ] = None,
    yes: Annotated[bool, Option("--yes", help="Do not ask")] = False,
    json_output: options.Json = False,
) -> None:
    """Make trusted.json anew from a bundle or a board's root, or accept lists of bundles that were signed elsewhere."""
    from edgepress.toolkit.shipping.publishing.trust import trust as work

    trusted = work(to, keys, source=source, accept=lambda each: show_trusted(each.to_dict(), ask=not yes))
    if json_output:
        screen.document(trusted.to_dict())
    else:
        screen.say(f"trusted.json was written into {', '.join(map(str, keys))}.")


def _show(published: Published, json_output: bool) -> None:
    if json_output:
        screen.document(published.to_dict())
        return
    rows = [
        [
            name,
            str(release.release),
            release.id[:12],
            ", ".join(release.boards),
            "withdrawn" if release.withdrawn else release.channel,
            percent(release.share, ".4g"),
        ]
        for name, release in published.changed
    ]
    columns = [("Application", "left"), ("Release", "right"), ("Id", "left"), ("Boards", "left")]
    if rows:
        screen.show(screen.table([*columns, ("Channel", "left"), ("Share", "right")], rows))
    dates = ", ".join(f"{role} on {date:%Y-%m-%d}" for role, date in published.expires.items())
    screen.say(f"{published.folder} is signed. Its lists expire: {dates}.")
    screen.shell_command(
        f"For cron: {shell_line('edgepress', 'publish', 'renew', '--to', published.folder, '--keys', 'KEYS')}"
    )
