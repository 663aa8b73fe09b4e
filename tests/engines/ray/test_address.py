"""What listens at the address of a cluster is asked before Ray is, which would wait for minutes."""

import socket
import sys

import pytest

import audit
from audit.engines.ray import address as joining
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
def head(request, started_head):
    """A cluster started by ``ray start --head``: what it wants, its address, and the file of its token."""
    with started_head("0123456789abcdef" * 4 if request.param == "a token" else None) as started:
        yield request.param, started.address, started.token


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Ray's clusters need another system")
def test_a_token_is_sent_to_a_cluster_that_wants_one(tmp_path, data, head, scan_on):
    """What is at hand may be this machine's own token: a cluster that wants none is joined all the same."""
    _, address, token = head
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text(token.read_text() if token.is_file() else "f" * 64, encoding="utf-8")
    scan = scan_on(address, data, tmp_path / "run", HOME=tmp_path)
    assert scan.wait(300) == 0, scan.stderr.read()[-2000:]
    assert len(audit.open_run(tmp_path / "run")) == 282


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Ray's clusters need another system")
def test_where_the_token_is_what_fails_the_error_says_so(tmp_path, data, head, scan_on):
    wanted, address, token = head
    if wanted == "none":
        pytest.skip("this cluster refuses nobody")
    for environment, said in (
        ({}, "the Ray cluster wants a token, and there is none here; copy ~/.ray/auth_token from its head"),
        ({"RAY_AUTH_TOKEN": "f" * 64}, "the Ray cluster refuses the token that is here; copy"),
        ({"RAY_AUTH_MODE": "token"}, "RAY_AUTH_MODE=token, and there is no token here; copy"),
        ({"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN_PATH": token}, "the Ray cluster wants a token, and RAY_AUTH_MODE=disabled sends none; unset"),
    ):
        scan = scan_on(address, data, tmp_path / "run", HOME=tmp_path, **environment)
        assert scan.wait(300) == 2
        told = scan.stderr.read()
        assert told.startswith(f"error: --address {address}: {said}")
        assert told.count("\n") == 1
