"""Locks: deterministic content, exact change types, and gate results for the changes only."""

import json
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit import cli
from audit.diff.sample_changes import CHANGES, COLUMNS
from audit.errors import ConfigError
from audit.gate.gate import judge
from audit.gate.lock import BYTES_PER_IMAGE, changes_since, pin, read_content, read_lock
from audit.gate.policy import read_policy
from audit.gate.waivers import Waived
from audit.sources import open_source


def digest(name):
    import hashlib

    return hashlib.sha256(name.encode()).hexdigest()


def samples(*rows):
    return pd.DataFrame([(name, content and digest(content), split, label, None) for name, content, split, label in rows], columns=list(COLUMNS))


FIRST = samples(
    ("train/ant/1", "a1", "train", "ant"),
    ("train/ant/2", "a2", "train", "ant"),
    ("train/bee/1", "b1", "train", "bee"),
    ("val/bee/2", "b2", "val", "bee"),
    ("val/bee/broken", None, "val", "bee"),
)


def written(tmp_path, table):
    path = tmp_path / "audit.lock"
    path.write_text(pin(table))
    return path


def compared(tmp_path, old, new):
    changes = changes_since(read_lock(written(tmp_path, old)), new)
    return changes, {name: changes.counts[name] for name in CHANGES if changes.counts[name]}


def test_lock_is_sorted_and_contains_only_content():
    text = pin(FIRST)
    assert text == pin(FIRST.sample(frac=1, random_state=1))
    assert text == pin(FIRST.assign(sample_id=FIRST["sample_id"].where(FIRST["content_id"].isna(), "renamed " + FIRST["sample_id"])))
    lines = text.splitlines()
    assert lines[0] == "imagenet-audit lock 1"
    assert [line for line in lines if line.startswith("[")] == ['["train", "ant"]', '["train", "bee"]', '["val", "bee"]']
    images = [line for line in lines[1:] if not line.startswith("[")]
    assert len(images) == 5
    assert {len(line) + 1 for line in images} == {BYTES_PER_IMAGE}
    assert text.isascii()


def test_added_image_adds_one_line():
    more = pd.concat([FIRST, samples(("train/ant/3", "a3", "train", "ant"))], ignore_index=True)
    before, after = pin(FIRST).splitlines(), pin(more).splitlines()
    assert len(after) == len(before) + 1
    assert set(before) < set(after)


@pytest.mark.parametrize(
    ("name", "column", "value", "expected"),
    [
        ("train/ant/1", "label", "bee", {"relabelled": 1}),
        ("train/ant/1", "split", "val", {"moved": 1}),
        ("train/ant/1", "content_id", digest("other"), {"added": 1, "removed": 1}),
        ("train/ant/1", "sample_id", "train/ant/renamed", {}),
        ("val/bee/broken", "sample_id", "val/bee/renamed", {"added": 1, "removed": 1}),
    ],
)
def test_edits_have_the_right_change_type(tmp_path, name, column, value, expected):
    new = FIRST.copy()
    new.loc[new["sample_id"] == name, column] = value
    assert compared(tmp_path, FIRST, new)[1] == expected


def test_renamed_class_changes_no_sample(tmp_path):
    changes, counts = compared(tmp_path, FIRST, FIRST.replace({"label": {"ant": "zebra"}}))
    assert (counts, changes.renamed_classes, changes.classes_added) == ({}, {"ant": "zebra"}, ())


def test_removed_images_are_named_by_digest(tmp_path):
    changes, counts = compared(tmp_path, FIRST, FIRST.iloc[1:])
    assert counts == {"removed": 1}
    (row,) = changes.samples.to_dict("records")
    assert row["old_id"].startswith("lock: ")
    assert (row["old_split"], row["old_label"]) == ("train", "ant")


def test_identical_copies_are_counted(tmp_path):
    copies = samples(("a/1", "x", None, "a"), ("a/2", "x", None, "a"))
    assert compared(tmp_path, copies, copies.iloc[:1])[1] == {"removed": 1}
    assert compared(tmp_path, copies.iloc[:1], copies)[1] == {"added": 1}


NAMES = st.none() | st.text(max_size=4) | st.sampled_from(["[", " ", ">", '"', "\n", "\ud7ff"])
ROWS = st.lists(st.tuples(st.sampled_from("abcdefg") | st.none(), NAMES, NAMES), max_size=12)


@settings(deadline=None)
@given(ROWS)
def test_lock_round_trip(tmp_path_factory, rows):
    table = samples(*((f"{at}", content, split, label) for at, (content, split, label) in enumerate(rows)))
    changes, counts = compared(tmp_path_factory.mktemp("lock"), table, table)
    assert counts == {}
    assert (changes.renamed_classes, changes.renamed_splits) == ({}, {})
    assert changes.counts["unchanged"] == len(rows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "audit.lock: is empty, so there is no accepted version yet; pass --first-run"),
        ("imagenet-audit lock 2\n", "audit.lock:1: was written by a newer version"),
        ('imagenet-audit lock 1\n["train", "a"]\nAAAA\n', "audit.lock:3: is neither"),
        ('imagenet-audit lock 1\n["train", "a"]\n<<<<<<< mine, 22 chars\n', "audit.lock:3: is neither"),
        ('imagenet-audit lock 1\n["train", "a"]\n' + "A" * 22 + "\n" + "A" * 21, "audit.lock:4: is neither"),
        ('imagenet-audit lock 1\n["train", "a"]\n' + "A" * 22 + '\n["val"]\n', "audit.lock:4: is neither"),
        ('imagenet-audit lock 1\n["train", \n', "audit.lock:2: is neither"),
        ("imagenet-audit lock 1\n" + "A" * 22 + "\n", "audit.lock:2: is neither"),
    ],
)
def test_corrupt_lock_errors_name_the_line(tmp_path, text, message):
    (tmp_path / "audit.lock").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_lock(tmp_path / "audit.lock")
    assert message in str(caught.value)


def test_reads_windows_line_endings(tmp_path):
    path = written(tmp_path, FIRST)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert len(read_lock(path)) == 5


def test_source_and_run_give_the_same_lock(tmp_path, monkeypatch):
    import audit

    data = tmp_path / "data"
    for number in range(4):
        (data / "train" / f"c{number % 2}").mkdir(parents=True, exist_ok=True)
        image = np.random.default_rng(number).integers(0, 256, (40, 40, 3), np.uint8)
        from PIL import Image

        Image.fromarray(image).save(data / "train" / f"c{number % 2}" / f"{number}.png")
    (data / "train/c0/broken.jpg").write_bytes(b"not an image")
    run = audit.scan(data, tmp_path / "run", options=audit.ScanOptions(backbone="embedded", device="cpu", workers=1, only=("integrity",)))
    monkeypatch.setattr("audit.ingest.chunks.decode", None)
    read = read_content(open_source(str(data)), lambda _: None)
    assert pin(read) == pin(run.columns(*COLUMNS))
    assert cli.invoke(["lock", str(data), "--out", str(tmp_path / "of-source"), "-q"]) == 0
    assert cli.invoke(["lock", str(tmp_path / "run"), "--out", str(tmp_path / "of-run")]) == 0
    assert (tmp_path / "of-source").read_bytes() == (tmp_path / "of-run").read_bytes()


def test_lock_command_writes_and_checks(small_run, tmp_path, capsys):
    lock = tmp_path / "audit.lock"
    asked = ["lock", str(small_run.path), "--out", str(lock)]
    assert cli.invoke([*asked, "--check"]) == 2
    assert "no such lock" in capsys.readouterr().err
    assert cli.invoke(asked) == 0
    assert "6 images" in capsys.readouterr().out
    stamp = lock.stat().st_mtime_ns
    assert cli.invoke(asked) == 0
    assert lock.stat().st_mtime_ns == stamp
    assert cli.invoke([*asked, "--check"]) == 0
    text = lock.read_text()
    lock.write_text(text.replace('["train", "n1"]', '["val", "n1"]'))
    capsys.readouterr()
    assert cli.invoke([*asked, "--check"]) == 1
    shown = capsys.readouterr().out
    assert "2 moved, 4 unchanged" in shown
    assert "moved: train/cat/1.jpg (val -> train)" in shown
    assert cli.invoke([*asked, "--check", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["counts"]["moved"] == 2
    assert cli.invoke(["lock", str(small_run.path), "--out", str(tmp_path / "no" / "lock")]) == 2


def gate(run, tmp_path, rules, locked):
    (tmp_path / "policy.toml").write_text(rules)
    policy = read_policy(tmp_path / "policy.toml", ["leakage", "integrity", "class_balance"])
    since = changes_since(read_lock(written(tmp_path, locked)), run.columns(*COLUMNS))
    return judge(run, policy, Waived(frozenset()), None, since=since, lock="audit.lock")


def test_only_changes_since_the_lock_count(small_run, tmp_path):
    rules = "[limits]\nleakage = 0\nintegrity.rate = 0\nclass_balance = 0\n[new]\nerror = 0\n[require]\nreadable = true\n"
    whole = small_run.columns(*COLUMNS)
    of = lambda found: {verdict.rule: (verdict.state, verdict.message) for verdict in found.verdicts}  # noqa: E731
    nothing = gate(small_run, tmp_path, rules, whole)
    states = of(nothing)
    assert {states[name][0] for name in ("limits.leakage", "limits.integrity", "limits.class_balance", "new.error")} == {"passed"}
    assert states["limits.integrity"][1].startswith("0 of 0 images")
    assert states["require.readable"][0] == "failed"  # it is about the whole dataset
    leaked = gate(small_run, tmp_path, rules, whole.drop(index=4))
    assert of(leaked)["limits.leakage"] == ("failed", "5 findings, limit 0")
    assert not leaked.findings.loc[leaked.findings["check"] == "integrity", "counted"].any()
    assert any("1 added" in line for line in leaked.remarks())
    relabelled = gate(small_run, tmp_path, rules, whole.replace({"label": {"n1": "n2"}}))
    assert of(relabelled)["new.error"][0] == "failed"  # train/cat/1.jpg, whose label conflicts
    assert of(relabelled)["limits.class_balance"][0] == "failed"  # n1 is a class that was not there
    assert any("relabelled: train/cat/1.jpg (n2 -> n1)" in line for line in relabelled.remarks())


def test_missing_lock_on_a_first_run(small_run, tmp_path, capsys):
    (tmp_path / "policy.toml").write_text("[limits]\nleakage = 9\n[new]\nerror = 0\n")
    asked = ["check", str(small_run.path), "--policy", str(tmp_path / "policy.toml"), "--since", str(tmp_path / "audit.lock")]
    assert cli.invoke(asked) == 2
    assert "no such lock" in capsys.readouterr().err
    assert cli.invoke([*asked, "--first-run"]) == 0
    assert "not judged new.error" in capsys.readouterr().out
    assert cli.invoke(["lock", str(small_run.path), "--out", str(tmp_path / "audit.lock")]) == 0
    assert cli.invoke([*asked, "--json"]) == 0
    assert '"unchanged": 6' in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_small_changes_stay_small_in_git(tmp_path):
    """Replacing 1% of a thousand images adds about 1% of the first lock to the history."""

    def git(*words):
        return subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *words], cwd=tmp_path, check=True, capture_output=True, text=True
        )

    def packed():
        git("gc", "-q", "--aggressive", "--prune=now")
        return sum(file.stat().st_size for file in (tmp_path / ".git/objects/pack").glob("*.pack"))

    table = samples(*((f"{at}", f"{at}", "train", f"c{at % 10}") for at in range(1000)))
    git("init", "-q")
    written(tmp_path, table)
    git("add", "audit.lock")
    git("commit", "-qm", "first")
    first = packed()
    assert first < 20 * 1000
    written(tmp_path, pd.concat([table.iloc[10:], samples(*((f"n{at}", f"n{at}", "train", "c1") for at in range(10)))], ignore_index=True))
    git("commit", "-qam", "second")
    assert packed() - first < 0.1 * first
