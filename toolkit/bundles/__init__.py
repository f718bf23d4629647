"""Bundles: one file that installs a model on a board and proves it there. Guide: docs/bundle.md.

archive.py     the one byte form of the zip, written and read
manifest.py    MANIFEST.json: size and SHA-256 of every file
signature.py   signatures by OpenSSH
verify.py      is a bundle whole and unchanged?
boards.py      which boards, and the pinned packages of each (pins/)
samples.py     test items with the workstation's answers
build.py       all of it put together
files/         install.sh, run, README.md, service.unit: copied into a bundle
pyz_main.py    the `__main__` of a runnable bundle
"""
