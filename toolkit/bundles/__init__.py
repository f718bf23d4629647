"""Bundles: one file that installs a model on a board and proves it there. Guide: docs/bundle.md.

archive.py     the one byte form of the zip, written and read
manifest.py    MANIFEST.json: size and SHA-256 of every file
signature.py   signatures by OpenSSH
verify.py      whether a bundle is whole and unchanged
boards.py      which boards there are, and the pinned packages of each (pins/)
samples.py     test items with the workstation's answers
build.py       builds a bundle from all of these
files/         install.sh, run, README.md, service.unit: copied into a bundle
pyz_main.py    the `__main__` of a runnable bundle

Nothing here opens a connection: bundles travel to boards by `edgepress.toolkit.boards`, or by hand.
"""
