"""Files as sources for microcontrollers: `edgepress export`. Guide: docs/microcontrollers.md.

export.py            checks the arguments
job.py               the arguments, the child process that reads the file, the check against a board, the report
folder.py            writes the folder, and keeps what the user has in it
c99.py, tflm.py      write a folder of self-contained C99, or one for firmware with TFLM
wasm.py, wasm_page.py  compile that C for browsers, and write the page and the package around it
frames.py            C that makes the input of a camera's frames
vectors.py           items of the self-test, with the answers that the sources must give
files/               the templates of each kind of folder

Only wasm.py compiles C: `edgepress.converters.to_c` writes it, and the board's own tools build it.
"""
