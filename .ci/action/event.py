"""Print a fact of the event that started the workflow: `base`, the base commit, or `pull`, the pull request's number.

Prints nothing where the event has no such fact, such as the pull request of a push.
"""

import json
import os
import re
import sys
from pathlib import Path

event = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
pull = event.get("pull_request") or {}
if sys.argv[1] == "base":
    base = (
        (pull.get("base") or {}).get("sha") or (event.get("merge_group") or {}).get("base_sha") or event.get("before")
    )
    found = str(base or "")
    sys.stdout.write(found if re.fullmatch(r"[0-9a-f]{40,64}", found) and found.strip("0") else "")
else:
    number = pull.get("number")
    sys.stdout.write(str(number) if isinstance(number, int) else "")
