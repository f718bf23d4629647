"""The command line: options in, a call of the public function, tables or one JSON document out.

`app` holds the table of commands, `screen` and `tables` print. No other room imports this one, and nothing is computed
here: what a script would need too belongs in the function that the command calls.
"""
