"""Bundles: one file that installs a model on a board and tests it there. Guide: docs/bundle.md.

archive.py     write and read the zip, in a single canonical form
verify.py      check that a bundle is complete and unchanged
boards.py      supported boards and their pinned packages (pins/)
native.py      the model as C, for boards that no engine has packages for
samples.py     test items with the workstation's answers
updates.py     what a bundle with updates has more than others
build.py       build a bundle of all these
files/         install.sh, run, README.md, service.unit, ...: copied into a bundle
pyz_main.py    the `__main__` of a runnable bundle

Nothing here opens a connection: `edgepress.toolkit.shipping.boards` copies bundles to boards, or the user does.
"""
