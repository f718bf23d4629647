"""The contract of a model file: written into files, or put together from metadata, hints and guesses."""
