"""Sound: recordings and microphones in, frames of a front end out, and events of what is heard.

features.py    the parameters of the front ends, as a contract holds them
framing.py     what every front end does: samples as they arrive to windows
front_end.py   samples to frames, in integers, equal to TFLM's microfrontend to the bit
tables.py      the integer tables of its parameters, which the exported C holds too
log_mel.py     samples to frames, in floats
frames.py      which front end makes frames, and what a net takes of them
wav.py         WAV files that anyone may have made, and whole multiples of a rate
windows.py     which windows of a recording are items
doubt.py       keeps what was nearly heard
listen.py      samples as they arrive, and events of what is heard; listen_options.py has its options

Imports numpy and the modules of errors; nothing here is imported before a model or a command needs it.
"""
