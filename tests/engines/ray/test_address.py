"""Cluster addresses are probed before Ray connects, which could take minutes."""

import socket
import sys

import pytest

import audit
from audit.engines.ray import address as module
from audit.errors import ConfigError


@pytest.fixture
def silent():
    """The address of a listener that accepts connections but never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("given", ["address", "auto"])
def test_listener_that_does_not_answer_is_not_a_cluster(monkeypatch, silent, given):
    monkeypatch.setattr(module, "_ANSWER_SECONDS", 2)
    monkeypatch.setenv("RAY_ADDRESS", silent)
    with pytest.raises(ConfigError, match=rf"--address {silent}: something listens there but did not answer .* within 2 s; use the HOST:PORT"):
        module.require_cluster("auto" if given == "auto" else silent)


@pytest.fixture(scope="module", params=["token", "none"])
def head(request, started_head):
    """A cluster started with ``ray start --head``: whether it requires a token, its address, and its token file."""
    with started_head("0123456789abcdef" * 4 if request.param == "token" else None) as started:
        yield request.param, started.address, started.token


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Ray's clusters need another system")
def test_sends_token_only_to_a_cluster_that_requires_one(tmp_path, data, head, scan_on):
    """A token of this machine does not prevent joining a cluster without one."""
    _, address, token = head
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text(token.read_text() if token.is_file() else "f" * 64, encoding="utf-8")
    scan = scan_on(address, data, tmp_path / "run", HOME=tmp_path)
    assert scan.wait(300) == 0, scan.stderr.read()[-2000:]
    assert len(audit.open_run(tmp_path / "run")) == 282


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Ray's clusters need another system")
def test_token_errors(tmp_path, data, head, scan_on):
    required, address, token = head
    if required == "none":
        pytest.skip("this cluster requires no token")
    for environment, problem in (
        ({}, "the Ray cluster requires a token, but this machine has none; copy ~/.ray/auth_token from its head"),
        ({"RAY_AUTH_TOKEN": "f" * 64}, "the Ray cluster rejects this machine's token; copy"),
        ({"RAY_AUTH_MODE": "token"}, "RAY_AUTH_MODE=token, but this machine has no token; copy"),
        (
            {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN_PATH": token},
            "the Ray cluster requires a token, but RAY_AUTH_MODE=disabled sends none",
        ),
    ):
        scan = scan_on(address, data, tmp_path / "run", HOME=tmp_path, **environment)
        assert scan.wait(300) == 2
        printed = scan.stderr.read()
        assert printed.startswith(f"error: --address {address}: {problem}")
        assert printed.count("\n") == 1
