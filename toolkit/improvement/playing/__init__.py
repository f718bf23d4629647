"""A page on this machine that shows what several model files answer to photos, a webcam, sounds and the test items.

`choice` says which files are shown and finds the test items on which they differ, `panel` lets each answer in its own
process, `hearing` lets each hear a recording; `web` is the HTTP server with its limits, `play` what stands at which
address, and all together. The page is `page.html`, `play.css` and six scripts, beside the report's style sheet. Nothing
is trained, converted or written here; reports of measurements are in `reports`.
"""
