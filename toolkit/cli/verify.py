"""The command `verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from edgepress.toolkit.cli import screen
from edgepress.toolkit.cli.options import Json


def verify(
    bundle: Annotated[Path, Argument(help="A .zip or .pyz file made by edgepress bundle")],
    key: Annotated[
        Path | None, Option(help="Require a signature by this public key (.pub) or file of allowed signers")
    ] = None,
    signature: Annotated[Path | None, Option(help="Signature file", show_default="BUNDLE.sig")] = None,
    json_output: Json = False,
) -> None:
    """Check that a bundle is complete, unchanged and, with --key, signed; nothing is unpacked."""
    from edgepress.toolkit.shipping.bundles.verify import verify as work

    verified = work(bundle, key=key, signature=signature)
    if json_output:
        screen.document(verified.to_dict())
        return
    m = verified.manifest
    screen.say(f"{bundle} is complete and unchanged: {m.name} {m.id[:12]}, {m.scheme}, {len(m.files) + 1} files.")
    if verified.signer:
        screen.say(f"Signed by {verified.signer}.", style="bold green")
    else:
        why = "its signature was not checked; pass --key" if verified.signature else "it is not signed"
        screen.say(f"The sender is not known: {why}.", style="yellow")
    screen.say(f"SHA-256 {verified.sha256}")
