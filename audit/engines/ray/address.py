"""Whether a Ray cluster answers at an address, and whether it wants a token.

Ray itself asks what listens there for minutes, cannot be interrupted, and keeps the reason to itself; a process that asks first can be ended.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

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
try:
    GcsClient(address=sys.argv[1])
except Exception as error:
    sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())[:160]}")
"""

_ADDRESS_MEND = "give HOST:PORT as ray start --head printed it"
_COPY_IT = "copy ~/.ray/auth_token from its head to this machine, or set RAY_AUTH_TOKEN to what it holds"


def prepare(address: str) -> None:
    """Find out whether a cluster answers at ``HOST:PORT``, or where the environment says that ``auto`` is, and set Ray up to join it.

    Once ``~/.ray/auth_token`` exists, and Ray writes it by itself, ``ray start --head`` makes clusters that want it; but who joins by an address
    sends it only where ``RAY_AUTH_MODE`` says so. Where that is not set, a token is sent to a cluster that does not answer without, and to no other.

    Raises:
        ConfigError: nobody listens there, it is no Ray cluster, or it wants a token that is not here.
    """
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", "auto")
    if address == "auto":
        return  # Ray finds this machine's cluster by its processes, and sends it a token where there is one
    place, mode = f"--address {address}", os.environ.get("RAY_AUTH_MODE")
    _knock(address)
    if mode == "token" and not _has_token():  # Ray's own test of it ends the process
        raise ConfigError(place, "RAY_AUTH_MODE=token, and there is no token here", _COPY_IT)
    refused = _refusal(address)
    if refused is None:
        return
    if not refused.startswith("AuthenticationError"):
        raise ConfigError(place, f"no Ray cluster answers ({refused})", _ADDRESS_MEND)
    if mode not in (None, "token"):
        raise ConfigError(place, f"the Ray cluster wants a token, and RAY_AUTH_MODE={mode} sends none", "unset RAY_AUTH_MODE")
    if not _has_token():
        raise ConfigError(place, "the Ray cluster wants a token, and there is none here", _COPY_IT)
    if mode == "token" or _refusal(address, RAY_AUTH_MODE="token") is not None:
        raise ConfigError(place, "the Ray cluster refuses the token that is here", _COPY_IT)
    _send_tokens()


def _send_tokens() -> None:
    from ray._raylet import Config  # type: ignore[attr-defined]  # compiled, and described nowhere

    os.environ["RAY_AUTH_MODE"] = "token"
    Config.initialize("")  # has read the environment when Ray was imported


def _has_token() -> bool:
    """Return whether there is a token in one of the places where Ray looks for it."""
    path = os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token"
    return bool(os.environ.get("RAY_AUTH_TOKEN")) or Path(path).is_file()


def _knock(address: str) -> None:
    """Refuse an address where nobody listens at once."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_KNOCK_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise ConfigError(f"--address {address}", f"no Ray cluster answers ({error})", f"{_ADDRESS_MEND}, or auto on its machines") from None


def _refusal(address: str, **environment: str) -> str | None:
    """Ask a cluster for its name, in a process of its own, and return why it gave none; None where it did."""
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
        problem = f"something listens there, and did not answer as a Ray cluster does within {_ANSWER_SECONDS:g} s"
        raise ConfigError(f"--address {address}", problem, _ADDRESS_MEND) from None
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
