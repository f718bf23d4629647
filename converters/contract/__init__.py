"""The contract of a model file: read, written, and guessed for models that edgepress did not make.

`metadata` reads what other tools wrote into a file, `kinds` and `outputs` interpret inputs and answers, `guess`
combines these with the user's flags, `write` does so for files that stay as they are, `write` puts the contract
into a finished file. Nothing here opens or converts a model. The record itself is
`edgepress.runtime.contract.Contract`, because the board reads it.
"""
