"""Where answers and indices that can be made again are kept between commands."""

from __future__ import annotations

import os
from pathlib import Path


def default_cache(name: str = "answers") -> Path:
    """A folder by its name, for answers by default: below `EDGEPRESS_CACHE`, or below the user's cache folder."""
    import platformdirs

    return Path(os.environ.get("EDGEPRESS_CACHE") or platformdirs.user_cache_path("edgepress")) / name
