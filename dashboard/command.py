"""``imagenet-audit dashboard``: review a run in the browser."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from audit.commands.base import PATH, SOURCE, say
from audit.errors import ConfigError

ADDRESS = "127.0.0.1"
"""The only address that the server listens on: datasets under review are often private."""

PORT = 8501
TOKEN = "IMAGENET_AUDIT_TOKEN"  # noqa: S105 - a name
"""Environment variable that passes the token to the server; other users of the machine can read command lines."""

_PORTS_TRIED = 50
_START_TIMEOUT = 60.0
_INTERRUPTED = 130

SETTINGS: dict[str, Any] = {
    "server.address": ADDRESS,
    "server.headless": True,
    "server.fileWatcherType": "none",
    "server.maxUploadSize": 64,
    "browser.gatherUsageStats": False,
    "browser.serverAddress": ADDRESS,
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "none",
    "logger.level": "warning",
    "runner.magicEnabled": False,
    "theme.light.primaryColor": "#1d5fd0",
    "theme.light.backgroundColor": "#ffffff",
    "theme.light.textColor": "#14171c",
    "theme.dark.primaryColor": "#7fb0ff",
    "theme.dark.backgroundColor": "#171614",
    "theme.dark.textColor": "#f4f6f8",
}
"""Streamlit's options, passed when it starts so that no configuration file of the user can override them. Streamlit's default theme uses red
for neutral controls, and its captions have less than the contrast of 4.5 to 1 that WCAG 2.2 requires (success criterion 1.4.3)."""


@click.command()
@click.argument("run", type=PATH)
@click.option("--port", type=click.IntRange(1024, 65535), metavar="N", help=f"Port on this machine.  [default: {PORT}, or the next free one]")
@click.option("--host", "hosts", metavar="NAME", multiple=True, help="Also answer to this host name, as of a reverse proxy; may be repeated.")
@SOURCE
@click.option("--offline", is_flag=True, help="Do not use the network for datasets.")
@click.option("--browser/--no-browser", default=True, show_default=True, help="Open the page in the browser.")
def dashboard(run: Path, port: int | None, hosts: tuple[str, ...], source: str | None, *, offline: bool, browser: bool) -> None:
    """Review a finished run in the browser: confirm, relabel, drop or dismiss findings.

    Listens on this machine only and sends no data to other servers. Stores decisions in RUN/decisions.jsonl; the dataset does not change. Only a
    browser that opened the printed address, with its token, can see the images.
    """
    from audit import open_run

    open_run(run)
    chosen, token = free_port(port), secrets.token_urlsafe(32)
    address = f"http://{ADDRESS}:{chosen}/?token={token}"
    say(f"dashboard of {run}: {address}  (press Ctrl+C to stop)")
    process = subprocess.Popen(server_command(run, chosen, hosts, source, offline=offline), env=_environment(token), stdout=subprocess.DEVNULL)  # noqa: S603
    with tempfile.TemporaryDirectory(prefix="imagenet-audit-") as private:
        if browser:
            threading.Thread(target=_open_when_ready, args=(address, Path(private), chosen, process), daemon=True).start()
        try:
            code = process.wait()
        except KeyboardInterrupt:  # SIGTERM raises it too; the server must not outlive the command
            process.terminate()
            with suppress(KeyboardInterrupt, subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            raise click.exceptions.Exit(0) from None
    raise click.exceptions.Exit(0 if code in (0, _INTERRUPTED, -2, -15) else code)


def free_port(requested: int | None) -> int:
    """Return the requested port, or the first free one from `PORT` on.

    Raises:
        ConfigError: the port is in use.
    """
    candidates = [requested] if requested is not None else list(range(PORT, PORT + _PORTS_TRIED))
    for port in candidates:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((ADDRESS, port))
            except OSError:
                continue
            return port
    raise ConfigError("--port", f"{candidates[0]} is in use by another program", "choose another port, or omit --port to use a free one")


def server_command(run: Path, port: int, hosts: tuple[str, ...], source: str | None, *, offline: bool) -> list[str]:
    """Return the command that serves the dashboard; ``-P`` keeps a local ``audit`` or ``reports`` folder from shadowing the packages."""
    served = json.dumps({"run": str(run.absolute()), "source": source, "offline": offline, "port": port, "hosts": hosts})
    return [sys.executable, "-P", "-m", "dashboard.server", served]


def _environment(token: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("STREAMLIT_")} | {TOKEN: token}


def _open_when_ready(address: str, private: Path, port: int, process: subprocess.Popen[bytes]) -> None:
    """Open the address in the browser through a private file: a browser's command line is readable by other users of the machine."""
    page = private / "dashboard.html"
    page.write_text(f'<!DOCTYPE html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={address}"><a href="{address}">Open</a>\n')
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex((ADDRESS, port)) == 0:
                webbrowser.open(page.as_uri())
                return
        time.sleep(0.2)
