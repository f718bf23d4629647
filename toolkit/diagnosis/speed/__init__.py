"""Why a file is slow on an engine: findings with their share of the time, and how to fix each.

`diagnosis` says what each kernel of a profile does and how close it comes to this CPU's reach, `finding` looks for what
stands out, `causes` is the table of what is known about it, and `diagnose` puts it into words. Nothing is measured
here but through `edgepress.toolkit.diagnosis.profiling`, and advice needs a ground: a document, the engine's source or
a script.
"""
