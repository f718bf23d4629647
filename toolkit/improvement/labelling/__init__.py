"""A page on this machine to label pictures that boards have kept: `label`.

`desk` is the folder and what was labelled in it, `label` what stands at which address, `label` both together. The page
is `label.html`, `label.css` and `label.js`, beside the report's style sheet; the server is that of `playing`. Labelling
moves a picture into the folder of its class, so that the folder is all the state there is, and data for every command.
"""
