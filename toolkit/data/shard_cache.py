"""Indices of tar shards, kept in the user's cache folder under the shard's path, size and time of change.

Opening the same shards again reads none of them.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

from edgepress.converters.files import write_bytes
from edgepress.toolkit.caches import default_cache
from edgepress.toolkit.data.shard_index import Index, Shard
from edgepress.toolkit.data.shard_scan import Scan
from edgepress.toolkit.errors import EdgepressError

FORMAT = 1
"""Increment it when the content of an index, or what is refused, changes."""
CACHE_BYTES = 512 << 20
"""Limit on the indices kept on disk: those of some eight million images."""


def kept_at(shard: Shard) -> Path:
    """Where the index of a shard is kept."""
    import PIL

    key = json.dumps([FORMAT, PIL.__version__, os.path.realpath(shard.path), shard.size, shard.changed])
    return default_cache("shards") / f"{hashlib.sha256(key.encode()).hexdigest()}.npz"


def index_of(shard: Shard) -> Index:
    """The items of a shard, from the cache or from the shard itself.

    Raises:
        PermissionError: The shard may not be read.
    """
    path = kept_at(shard)
    kept = Index.from_file(path)
    if kept is not None:
        with suppress(OSError):
            os.utime(path)
        return kept
    index = Scan(shard.path).index()
    with suppress(EdgepressError, OSError):  # without a cache, the index is made again the next time
        write_bytes(path, index.to_bytes())
        _remove_old(path.parent)
    return index


def _remove_old(cache: Path) -> None:
    """Remove the least recently used indices above `CACHE_BYTES`."""
    left = CACHE_BYTES
    for _, size, path in sorted(((s := p.stat()).st_mtime, s.st_size, p) for p in cache.glob("*.npz"))[::-1]:
        left -= size
        if left < 0:
            path.unlink(missing_ok=True)
