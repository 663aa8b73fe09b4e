"""Whether a Ray cluster answers at an address.

Ray itself asks what listens there for minutes, cannot be interrupted, and keeps the reason to itself; a process that asks first can be ended.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from audit.errors import ConfigError

_KNOCK_SECONDS = 10.0
"""Until an address where nobody listens is given up."""

_ANSWER_SECONDS = 30.0
"""Until what listens but does not answer is given up: an answer took 0.4 to 0.8 s on a busy machine, most of it to import Ray."""

_ASK = """
import sys
try:
    from ray._raylet import GcsClient
except ImportError:  # not a part of Ray that it promises to keep: joining will tell
    sys.exit(0)
GcsClient(address=sys.argv[1])
"""


def prepare(address: str) -> None:
    """Find out whether a cluster answers at ``HOST:PORT``, or at what ``auto`` stands for where the environment says it.

    Raises:
        ConfigError: nobody listens there, or it is no Ray cluster.
    """
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", "auto")
    if address == "auto":
        return  # Ray finds this machine's cluster by its processes
    _knock(address)
    try:
        refused = _refusal(address)
    except subprocess.TimeoutExpired:
        problem = f"something listens there, and did not answer as a Ray cluster does within {_ANSWER_SECONDS:g} s"
        raise ConfigError(f"--address {address}", problem, "give HOST:PORT as ray start --head printed it") from None
    if refused is not None:
        raise ConfigError(f"--address {address}", f"no Ray cluster answers ({refused})", "give HOST:PORT as ray start --head printed it")


def _knock(address: str) -> None:
    """Refuse an address where nobody listens at once."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_KNOCK_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise ConfigError(
            f"--address {address}", f"no Ray cluster answers ({error})", "give HOST:PORT as ray start --head printed it, or auto on its machines"
        ) from None


def _refusal(address: str, **environment: str) -> str | None:
    """Ask a cluster for its name in a process of its own, and return why it gave none; None where it did."""
    done = subprocess.run(  # noqa: S603  this Python and an argument, no shell
        [sys.executable, "-c", _ASK, address],
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_ANSWER_SECONDS,
        env={**os.environ, **environment},
    )
    lines = done.stderr.strip().splitlines()
    return None if done.returncode == 0 else (lines[-1][:160] if lines else f"exit code {done.returncode}")
