"""A real run that the dashboard's tests look at, and the command that serves it; each test that decides takes a copy."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from urllib.parse import urlsplit

import pytest

import audit
from audit import ScanOptions, demo
from dashboard.command import free_port

PATIENCE = 30.0


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dashboard")
    demo.make(folder / "images")
    return audit.scan(folder / "images", folder / "run", options=ScanOptions(backbone="embedded", device="cpu")).path


@pytest.fixture
def own_run(demo_run, tmp_path):
    shutil.copytree(demo_run, tmp_path / "run")
    return tmp_path / "run"


@contextlib.contextmanager
def serve(run, ending=signal.SIGINT, environment=None, options=()):
    """Run the command and yield the address that it prints."""
    command = [sys.executable, "-m", "audit.cli", "dashboard", str(run), "--no-browser", "--port", str(free_port(None)), *options]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, env=os.environ | (environment or {})
    )
    try:
        address = re.search(rb"http://\S+", process.stdout.readline())[0].decode()
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", urlsplit(address).port), timeout=1):
                break
            time.sleep(0.1)
        yield address
    finally:
        process.send_signal(ending)
        try:
            process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.fixture(scope="session")
def served():
    return serve
