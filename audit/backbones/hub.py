"""The model hub that open_clip and timm download weights from: whether it may be used, whether it answers, and what is already on this machine."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HUB = ("huggingface.co", 443)
_PATIENCE_SECONDS = 4.0
"""Timeout after which the model hub counts as unreachable; name resolution alone may hang far longer."""


def hub_reachable() -> bool:
    """Return whether the model hub answers within five seconds; not contacted if Hugging Face's own offline switch is set."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}:
        return False
    answered = threading.Event()

    def ask() -> None:
        try:
            with socket.create_connection(HUB, timeout=_PATIENCE_SECONDS):
                answered.set()
        except OSError:
            return

    # In a thread, because name resolution has no timeout and may hang for half a minute.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_PATIENCE_SECONDS)
    return answered.is_set()


@contextmanager
def hub_forbidden() -> Iterator[None]:
    """Disable network access of Hugging Face's library inside the block, without affecting other models or child processes.

    The library reads its environment variable only when it is imported, so the imported value is changed.
    """
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def in_hub_cache(repository: str, *names: str) -> bool:
    """Return whether one of the files of a repository is in the hub's cache on this machine."""
    from huggingface_hub import try_to_load_from_cache

    return any(isinstance(try_to_load_from_cache(repository, name), str) for name in names)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
