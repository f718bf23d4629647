"""`tune`: train a model's constants and ranges for quantization, in a child process, resumable."""
