"""What listens at the address of a cluster is asked before Ray is, which would wait for minutes."""

import socket

import pytest

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
