"""A page on this machine that shows what several model files answer to photos, a webcam and the test images.

`choice` says which files are shown, `panel` lets each answer in its own process, `choice` finds the test images on
which they differ; `web` is the HTTP server with its limits, `play` what stands at which address, `play` all together.
The page is `page.html`, `play.css` and four scripts, beside the report's style sheet. Nothing is trained, converted or
written here; reports of measurements are in `reports`.
"""
