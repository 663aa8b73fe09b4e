"""``imagenet-audit inspect``: how a dataset would be read, without pixels."""

import json

import pytest

from audit.cli import invoke


@pytest.fixture
def folder(tmp_path):
    for domain in ("art", "photo"):
        for label in ("cat", "dog"):
            (tmp_path / "set" / domain / label).mkdir(parents=True)
            for number in range(3):
                (tmp_path / "set" / domain / label / f"{number}.jpg").write_bytes(b"no pixels are read")
    return tmp_path / "set"


def test_shows_what_a_scan_would_use(folder, capsys):
    assert invoke(["inspect", str(folder)]) == 0
    text = capsys.readouterr().out
    for part in ("12 images", "splits    none", "classes   2: cat 6, dog 6", "cat: art/cat/0.jpg", "domain: 2 values", "pass --layout class"):
        assert part in text
    assert "columns that could be groups: domain" in text


def test_prints_json_and_takes_the_options_of_a_scan(folder, capsys, monkeypatch):
    assert invoke(["inspect", str(folder), "--layout", "style/class", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["classes"]["dog"] == {"images": 6, "example": "art/dog/0.jpg"}
    assert (found["groups"], found["problems"]) == (["style"], [])
    monkeypatch.chdir(folder.parent)
    (folder.parent / "audit.toml").write_text('[source]\nlayout = "split/class"\n')
    assert invoke(["inspect", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["splits"] == {"art": 6, "photo": 6}


def test_errors_are_one_line(tmp_path, capsys):
    assert invoke(["inspect", str(tmp_path / "nope")]) == 2
    assert "no such file or folder" in capsys.readouterr().err
