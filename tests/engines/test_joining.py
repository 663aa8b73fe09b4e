"""What listens at the address of a cluster is asked before Ray is, which would wait for minutes."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

import audit
from audit.engines import joining
from audit.errors import ConfigError


@pytest.fixture
def silent():
    """The address of a listener that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("given", ["its address", "auto"])
def test_what_listens_and_does_not_answer_is_no_cluster(monkeypatch, silent, given):
    monkeypatch.setattr(joining, "_ANSWER_SECONDS", 2)
    monkeypatch.setenv("RAY_ADDRESS", silent)
    with pytest.raises(ConfigError, match=rf"--address {silent}: something listens there, and did not answer .* within 2 s; give HOST:PORT"):
        joining.prepare("auto" if given == "auto" else silent)


@pytest.fixture(scope="module", params=["a token", "none"])
def head(request, tmp_path_factory):
    """A cluster started by ``ray start --head`` in a home of its own: what it wants, its address, and the file of its token."""
    wanted = request.param
    home = Path(tempfile.mkdtemp(prefix="ray"))  # its sockets need a short path
    token = home / ".ray" / "auth_token"
    if wanted == "a token":
        token.parent.mkdir()
        token.write_text("0123456789abcdef" * 4, encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    without = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    line = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", f"--port={port}", f"--temp-dir={home / 't'}", "--num-cpus=1", "--block"]
    small = ["--include-dashboard=false", f"--object-store-memory={100 * 2**20}", "--disable-usage-stats"]
    with (home / "log").open("w") as log:
        started = subprocess.Popen([*line, *small], stdout=log, stderr=log, env={**without, "HOME": str(home)})
        try:
            while "Ray runtime started" not in (home / "log").read_text(encoding="utf-8"):
                assert started.poll() is None, (home / "log").read_text(encoding="utf-8")
                time.sleep(0.2)
            yield wanted, f"127.0.0.1:{port}", token
        finally:
            started.terminate()
            started.wait(60)
            shutil.rmtree(home, ignore_errors=True)


def scanned(data, out, address, **environment):
    """What a scan on the cluster at an address says, in a process of its own."""
    without = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    line = ["scan", data, "--out", out, "--backbone", "embedded", "--offline", "--device", "cpu", "--only", "integrity", "--quiet"]
    return subprocess.run(
        [sys.executable, "-m", "audit.cli", *map(str, line), "--engine", "ray", "--address", address],
        env={**without, **{name: str(value) for name, value in environment.items()}},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Ray's clusters need another system")
def test_a_token_is_sent_to_a_cluster_that_wants_one(tmp_path, data, head):
    """What is at hand may be this machine's own token: a cluster that wants none is joined all the same."""
    _, address, token = head
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text(token.read_text() if token.is_file() else "f" * 64, encoding="utf-8")
    done = scanned(data, tmp_path / "run", address, HOME=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(audit.open_run(tmp_path / "run")) == 282


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Ray's clusters need another system")
def test_where_the_token_is_what_fails_the_error_says_so(tmp_path, data, head):
    wanted, address, token = head
    if wanted == "none":
        pytest.skip("this cluster refuses nobody")
    for environment, said in (
        ({}, "the Ray cluster wants a token, and there is none here; copy ~/.ray/auth_token from its head"),
        ({"RAY_AUTH_TOKEN": "f" * 64}, "the Ray cluster refuses the token that is here; copy"),
        ({"RAY_AUTH_MODE": "token"}, "RAY_AUTH_MODE=token, and there is no token here; copy"),
        ({"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN_PATH": token}, "the Ray cluster wants a token, and RAY_AUTH_MODE=disabled sends none; unset"),
    ):
        done = scanned(data, tmp_path / "run", address, HOME=tmp_path, **environment)
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: --address {address}: {said}")
        assert done.stderr.count("\n") == 1
