"""What a board with `bundle --updates` has more than others: it fetches, checks and installs releases by itself.

releases.py    the signed list of an application's releases, and which of them a board takes
place.py       the folder of an installation: releases, settings, the board's type and its id
state.py       what the updater remembers between two runs
web.py         requests that a server can neither hang nor lead elsewhere
transfer.py    bytes from a web server or a folder, within limits
roots.py       the trusted keys of this board, which no bundle and no folder replaces
trust.py       The Update Framework's client, and its refusals in words
installer.py   unpacks a bundle and runs its install.sh
frames.py      frames that the running service keeps while an update asks for them
shadow.py      the shadow run: both releases answer the same frames, and limits decide
shadow_process.py  a child process that answers with one release
shadow_child.py  its script
watch.py       the service after a switch, and the way back
confirm.py     what is left of the last update: a switch that was interrupted, a service that has failed
update.py      the order of an update
shown.py       their results as lines for people
__main__.py    the commands `run update` and `run status`

Imports `tuf` and the packages that it needs, which other bundles do not have; nothing here imports NumPy, an engine, or
what other modules of `edgepress.runtime` import, except errors, system and text; but shadow_child.py is run by the
interpreter of a release, with its engine. Guide: docs/updates.md.
"""
