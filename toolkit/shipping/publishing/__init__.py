"""Publish bundles: a folder in TUF's format that boards fetch their updates from. Guide: docs/updates.md.

keys.py         make private keys, and find those that sign a list
repository.py   sign the lists of the folder, and write them so that boards see the old or the new state
start.py        begin a folder, and replace keys
entries.py      the entry of a bundle in the list of releases, and the checks before it is one
publish.py      publish, withdraw and renew
trust.py        make the publisher's record of trust anew

The folder is read by `edgepress.toolkit.shipping.published` alone.

The format is that of The Update Framework 1.0 (https://theupdateframework.github.io/specification/), written with
python-tuf's `tuf.api.metadata`. What boards do with it is in `edgepress.runtime.updates`; nothing here opens a
connection.
"""
