"""Sweeps: many trainings, conversions and timings as independent jobs, whose results are kept by content.

`store` keeps results, `jobs` says what a job is and does one, `runners` is where jobs are done, `runners` does them in
processes of this machine, `plan` makes jobs from a file or options, and `loop` brings all of them together.
"""
