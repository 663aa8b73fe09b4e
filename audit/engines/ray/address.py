"""Check whether a Ray cluster answers at an address, and whether it requires a token.

Ray's own connection attempt takes minutes, cannot be interrupted and does not report its reason; a separate process that probes first can be killed.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from audit.errors import ConfigError

_CONNECT_SECONDS = 10.0
"""Timeout of the TCP connection."""

_ANSWER_SECONDS = 30.0
"""Timeout of the answer after connecting: it took 0.4 to 0.8 s on a busy machine, most of it to import Ray."""

_ASK = """
import sys
try:
    from ray._raylet import GcsClient
except ImportError:  # a private API of Ray that may change: joining reports the error then
    sys.exit(0)
try:
    GcsClient(address=sys.argv[1])
except Exception as error:
    sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())[:160]}")
"""

_ADDRESS_HINT = "use the HOST:PORT that ray start --head printed"
_TOKEN_HINT = "copy ~/.ray/auth_token from its head to this machine, or set RAY_AUTH_TOKEN to its content"  # noqa: S105  a hint


def require_cluster(address: str) -> None:
    """Check that a cluster answers at ``HOST:PORT`` (for ``auto``: at ``RAY_ADDRESS``), and configure Ray's authentication to join it.

    Once ``~/.ray/auth_token`` exists (Ray creates it by itself), ``ray start --head`` starts clusters that require it; but clients that join by
    address send it only if ``RAY_AUTH_MODE`` is ``token``. If that variable is not set, the token is sent only to a cluster that requires one.

    Raises:
        ConfigError: nothing listens at the address, it is not a Ray cluster, or the cluster requires a token that this machine does not have.
    """
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", "auto")
    if address == "auto":
        return  # Ray finds this machine's cluster by its processes, and sends its token
    where, mode = f"--address {address}", os.environ.get("RAY_AUTH_MODE")
    _connect(address)
    if mode == "token" and not _has_token():  # Ray exits the process in this case
        raise ConfigError(where, "RAY_AUTH_MODE=token, but this machine has no token", _TOKEN_HINT)
    refusal = _refusal(address)
    if refusal is None:
        return
    if not refusal.startswith("AuthenticationError"):
        raise ConfigError(where, f"no Ray cluster answers ({refusal})", _ADDRESS_HINT)
    if mode not in (None, "token"):
        raise ConfigError(where, f"the Ray cluster requires a token, but RAY_AUTH_MODE={mode} sends none", "unset RAY_AUTH_MODE")
    if not _has_token():
        raise ConfigError(where, "the Ray cluster requires a token, but this machine has none", _TOKEN_HINT)
    if mode == "token" or _refusal(address, RAY_AUTH_MODE="token") is not None:
        raise ConfigError(where, "the Ray cluster rejects this machine's token", _TOKEN_HINT)
    _send_tokens()


def _send_tokens() -> None:
    from ray._raylet import Config  # type: ignore[attr-defined]  # compiled, without type information

    os.environ["RAY_AUTH_MODE"] = "token"
    Config.initialize("")  # Ray read the environment when it was imported


def _has_token() -> bool:
    """Return whether there is a token where Ray looks for one."""
    path = os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token"
    return bool(os.environ.get("RAY_AUTH_TOKEN")) or Path(path).is_file()


def _connect(address: str) -> None:
    """Raise ConfigError if nothing listens at an address."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise ConfigError(f"--address {address}", f"no Ray cluster answers ({error})", f"{_ADDRESS_HINT}, or auto inside the cluster") from None


def _refusal(address: str, **environment: str) -> str | None:
    """Connect to a cluster from a separate process; return the error, or None if it answered."""
    try:
        done = subprocess.run(  # noqa: S603  this Python and an address, no shell
            [sys.executable, "-c", _ASK, address],
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ANSWER_SECONDS,
            env={**os.environ, **environment},
        )
    except subprocess.TimeoutExpired:
        problem = f"something listens there but did not answer as a Ray cluster within {_ANSWER_SECONDS:g} s"
        raise ConfigError(f"--address {address}", problem, _ADDRESS_HINT) from None
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
