"""Remarks: in one sentence, with the next command, that something other than quantization limits the accuracy.

`checks` is the table: one pure function a check, from measured figures (`facts`) to a remark or None. `gather` takes
these figures from data and answers; `gap` has the checks of a training.
Nothing here trains, runs a model or prints.
"""
