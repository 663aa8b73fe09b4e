"""The folder in which this user's machine keeps files between commands."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache() -> Path:
    """Return ``$IMAGENET_AUDIT_CACHE``, otherwise the system's folder for caches; it may not exist."""
    import platformdirs

    return Path(os.environ.get("IMAGENET_AUDIT_CACHE") or platformdirs.user_cache_dir("imagenet-audit"))
