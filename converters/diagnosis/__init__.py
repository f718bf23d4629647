"""Why a quantized file answers otherwise than its float graph: what each layer of it adds to the error, and what wears.

`files` read a quantized file: the values that it computes, how it rounds them, and its constants;
`matching` finds them in the float graph; `damage` runs the float graph with one layer rounded as in the file, `layers`
adds up what that does, and `examine` is the job of the child process.
"""
