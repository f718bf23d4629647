"""Results as frozen records (`records`), the file they are kept in (`file`), and its JSON Schema (`schema`).

Older files stay readable: fields are added, never renamed. The records hold figures only; they are computed in
`benchmarking`, compared in `comparison` and shown by `reports`, none of which this room imports.
"""
