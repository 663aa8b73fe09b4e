"""With ``--offline``, no command and none of its child processes opens a network connection."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from audit import open_run
from audit.exports import exports


@pytest.fixture
def watched(tmp_path, start, watch):
    def run(*arguments) -> list[str]:
        process = start(*arguments, env=watch.environment, cwd=tmp_path)
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, (arguments, err[-2000:])
        return watch.attempts()

    return run


def test_watcher_detects_a_connection(tmp_path, watched):
    """Without ``--offline``, the probe of the model hub is detected."""
    assert watched("models")


@pytest.mark.slow
def test_no_command_connects_when_offline(tmp_path, watched, dataset, tally):
    data, run = dataset(per_class=70), Path(tmp_path / "run")
    (tmp_path / "policy.toml").write_text("[limits]\ntotal = 100000\n")
    assert watched("scan", data, "--out", run, "--offline", "--quiet") == []
    shutil.copytree(run, tmp_path / "before")
    samples = open_run(run).samples
    np.save(tmp_path / "model.npy", np.full(((samples["split"] == "val").sum(), 2), 0.5, np.float32))
    policy, sheet = ("--policy", tmp_path / "policy.toml"), tmp_path / "sheet.csv"
    endings = {what: known.endings[0] for what, known in exports().items()}
    lines = [
        ("demo", "--out", tmp_path / "demo", "--offline", "--quiet"),
        ("models", "--offline"),
        ("checks",),
        ("explain", run, "train/bee/stolen.png"),
        ("verify", run, "--dataset", "cifar-10"),
        ("report", run, "--out", tmp_path / "report.html"),
        ("explain", run, "train/bee/stolen.png", "--saliency", tmp_path / "maps.png"),
        ("lock", run, "--out", tmp_path / "audit.lock"),
        ("init", tmp_path / "starter.toml"),
        ("check", run, *policy, "--since", tmp_path / "audit.lock", "--baseline", tmp_path / "before"),
        ("check", data, *policy, "--offline", "--quiet"),
        ("benchmark", run, "--predictions", tmp_path / "model.npy"),
        ("diff", run, run),
        ("decisions", run, "--sheet", sheet),
        ("decisions", run, "--import", sheet),
        *(("export", run, "--what", what, "--out", tmp_path / f"exported-{what}{ending}") for what, ending in endings.items()),
    ]
    for line in lines:
        assert watched(*line) == [], line
    tally("commands that may not connect", len(lines) + 1, "no connection, no name looked up")
