"""Files as sources for microcontrollers: `edgepress export`. Guide: docs/microcontrollers.md.

export.py            checks a file against a board, and writes the folder
vectors.py           items of the self-test, with the answers that the C must give
microcontrollers.py  boards, their memory, and where that is written
files/               README.md, CMakeLists.txt, selftest.c: filled in and written beside the model

Nothing here compiles or runs C: `edgepress.converters.to_c` writes it, and the board's own tools build it.
"""
