"""With ``--offline`` no command opens a connection: every process that it starts is watched, and none may leave this machine."""

import os
from pathlib import Path

import pytest

WATCH = """
import os, socket

def refuse(name):
    def watched(self, address, *arguments):
        if self.family != socket.AF_UNIX:
            with open(os.environ["CONNECTIONS"], "a") as file:
                file.write(f"{name} {address}\\n")
            raise OSError(101, "Network is unreachable")
        return getattr(socket._socket.socket, name)(self, address, *arguments)

    return watched

def looked_up(host, *arguments, **options):
    with open(os.environ["CONNECTIONS"], "a") as file:
        file.write(f"getaddrinfo {host}\\n")
    raise socket.gaierror(-3, "Temporary failure in name resolution")

for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, refuse(name))
socket.getaddrinfo = looked_up
"""


EXPORTS = {
    "cleaned-manifest": "manifest.csv",
    "clean-split": "split.csv",
    "cleanlab": "cleanlab",
    "croissant": "croissant.json",
    "label-studio": "tasks.json",
    "stripped-images": "clean",
}


@pytest.fixture
def watched(tmp_path, start):
    folder = tmp_path / "watch"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(WATCH)
    log = folder / "connections"

    def run(*arguments) -> list[str]:
        path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
        process = start(*arguments, env={"PYTHONPATH": path, "CONNECTIONS": str(log)}, cwd=tmp_path)
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err[-2000:]
        return log.read_text().splitlines() if log.exists() else []

    return run


def test_the_watch_sees_a_connection(tmp_path, watched):
    """Without ``--offline``, asking whether the model hub can be reached is seen."""
    assert watched("models")


@pytest.mark.slow
def test_no_command_connects_when_offline(tmp_path, watched, dataset, tally):
    data, run = dataset(per_class=70), Path(tmp_path / "run")
    (tmp_path / "policy.toml").write_text("[limits]\ntotal = 100000\n")
    lines = [
        ("scan", data, "--out", run, "--offline", "--quiet"),
        ("demo", "--out", tmp_path / "demo", "--offline", "--quiet"),
        ("models", "--offline"),
        ("checks",),
        ("explain", run, "train/bee/stolen.png"),
        ("verify", run, "--dataset", "cifar-10"),
        ("report", run, "--out", tmp_path / "report.html"),
        ("explain", run, "train/bee/stolen.png", "--saliency", tmp_path / "maps.png"),
        ("lock", run, "--out", tmp_path / "audit.lock"),
        ("check", run, "--policy", tmp_path / "policy.toml", "--since", tmp_path / "audit.lock", "--baseline", run),
        ("diff", run, run),
        ("decisions", run, "--sheet", tmp_path / "sheet.csv"),
        *(("export", run, "--what", what, "--out", tmp_path / place) for what, place in EXPORTS.items()),
    ]
    for line in lines:
        assert watched(*line) == [], line
    tally("commands that may not connect", len(lines), "no connection, no name looked up")
