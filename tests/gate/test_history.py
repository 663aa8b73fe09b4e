"""Versions of Tiny ImageNet, each checked against the previous one: exit code, findings and reports of every step."""

import contextlib
import io
import json
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from audit import cli

TAR = Path(__file__).resolve().parents[3] / "shared" / "data" / "tiny-imagenet-dev.tar"
CLASSES, TRAIN, VAL, SPARE = 8, 40, 10, 5

POLICY = """
[limits]
leakage = 0
conflicting_labels = 0

[new]
label_errors = 6

[require]
readable = true
splits = ["train", "val"]
"""

pytestmark = [pytest.mark.slow, pytest.mark.shared_data, pytest.mark.skipif(not TAR.is_file(), reason=f"{TAR} is not here")]


@dataclass
class Step:
    """Results of the commands for one version."""

    code: int
    failed: set[str]
    counts: dict[str, int]
    """Change -> samples, without zeros."""
    renamed_classes: dict[str, str]
    findings: list[dict[str, object]]
    """New and fixed findings, as `diff` lists them."""
    reports: dict[str, str]

    def caused(self, state, cause=None):
        """Check, kind and image of the findings in one state that the change of an image caused."""
        return sorted(
            (finding["check"], finding["kind"], finding["sample_id"])
            for finding in self.findings
            if finding["state"] == state and finding["cause"] != "context" and cause in (None, finding["cause"])
        )


def unpack(data):
    """Write the first images of the first classes; return further images of each class, by name."""
    spare = {}
    with tarfile.open(TAR) as archive:
        classes = sorted({name.split("/")[2] for name in archive.getnames() if name.count("/") == 3})[:CLASSES]
        for member in archive:
            _, split, label, name = (member.name.split("/") + [""] * 4)[:4]
            if label not in classes or not member.isfile():
                continue
            folder, kept = data / split / label, TRAIN if split == "train" else VAL
            folder.mkdir(parents=True, exist_ok=True)
            if len([*folder.iterdir()]) < kept:
                (folder / name).write_bytes(archive.extractfile(member).read())
            elif split == "train" and len(spare.setdefault(label, {})) < SPARE:
                spare[label][name] = archive.extractfile(member).read()
    return classes, spare


def answer(*arguments):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = cli.invoke([*map(str, arguments)])
    return code, json.loads(printed.getvalue())


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """Every version by name; each is the previous one with one edit."""
    folder = tmp_path_factory.mktemp("history")
    data = folder / "data"
    (folder / "policy.toml").write_text(POLICY)
    classes, spare = unpack(data)
    images = {label: sorted((data / "train" / label).iterdir()) for label in classes}
    steps, before = {}, None

    def check(name):
        nonlocal before
        run = folder / name
        paths = {form: folder / f"{name}.{form}" for form in ("junit", "sarif", "markdown")}
        asked = ["check", data, "--policy", folder / "policy.toml", "--out", run, "--cache", folder / "cache", "--json"]
        asked += ["--backbone", "embedded", "--offline", "--quiet", *(["--baseline", before] if before else [])]
        code, result = answer(*asked, *(f"--report={form}={path}" for form, path in paths.items()))
        difference = answer("diff", before, run, "--json")[1] if before else {"counts": {}, "renamed_classes": {}, "findings": []}
        steps[name] = Step(
            code=code,
            failed={verdict["rule"] for verdict in result["verdicts"] if verdict["state"] == "failed"},
            counts={change: count for change, count in difference["counts"].items() if count and change not in ("old", "new", "unchanged")},
            renamed_classes=difference["renamed_classes"],
            findings=[finding for finding in difference["findings"] if finding["state"] != "persisting"],
            reports={form: path.read_text() for form, path in paths.items()},
        )
        before = run

    check("first")
    for label, more in spare.items():
        for name, content in more.items():
            (data / "train" / label / name).write_bytes(content)
    check("clean images added")
    leaked = data / "val" / classes[0] / "leaked.JPEG"
    shutil.copyfile(images[classes[0]][3], leaked)
    check("a leak added")
    for number, label in enumerate(classes):  # to different classes: all of one class to another look like two classes that are hard to distinguish
        for path in images[label][6:8]:
            path.rename(data / "train" / classes[(number + 3) % CLASSES] / path.name)
    check("sixteen relabelled")
    for split in ("train", "val"):
        (data / split / classes[3]).rename(data / split / "n99999999")
    check("a class renamed")
    for split in ("train", "val"):
        shutil.rmtree(data / split / classes[4])
    check("a class dropped")
    for path in sorted((data / "val" / classes[5]).iterdir())[:3]:
        path.rename(data / "train" / classes[5] / path.name)
    check("three moved")
    leaked.unlink()
    check("the leak fixed")
    return classes, images, steps


CHANGES = {
    "first": (0, set(), {}),
    "clean images added": (0, set(), {"added": CLASSES * SPARE}),
    "a leak added": (1, {"limits.leakage"}, {"added": 1}),
    "sixteen relabelled": (1, {"limits.leakage", "new.label_errors"}, {"relabelled": 2 * CLASSES}),
    "a class renamed": (1, {"limits.leakage"}, {"renamed": TRAIN + VAL + SPARE}),
    "a class dropped": (1, {"limits.leakage"}, {"removed": TRAIN + VAL + SPARE}),
    "three moved": (1, {"limits.leakage"}, {"moved": 3}),
    "the leak fixed": (0, set(), {"removed": 1}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_exit_code_rules_and_changes_match_the_edit(history, name):
    step = history[2][name]
    assert (step.code, step.failed, step.counts) == CHANGES[name]


@pytest.mark.parametrize("name", CHANGES)
def test_reports_name_exactly_the_failed_rules(history, name):
    step = history[2][name]
    cases = ET.fromstring(step.reports["junit"]).iter("testcase")
    assert {case.get("name") for case in cases if case.find("failure") is not None} == step.failed
    results = json.loads(step.reports["sarif"])["runs"][0]["results"]
    assert {result["ruleId"] for result in results if result["ruleId"].startswith(("limits.", "new.", "require."))} <= step.failed
    for rule in CHANGES["sixteen relabelled"][1]:
        assert (f"### `{rule}`" in step.reports["markdown"]) == (rule in step.failed)


def test_leak_is_new_when_added_and_fixed_when_removed(history):
    classes, images, steps = history
    pair = [
        ("exact_duplicates", "identical_bytes", f"val/{classes[0]}/leaked.JPEG"),
        ("leakage", "identical_bytes", f"train/{classes[0]}/{images[classes[0]][3].name}"),
    ]
    assert steps["a leak added"].caused("new") == pair
    assert steps["the leak fixed"].caused("fixed") == pair
    assert "leaked.JPEG" in steps["a leak added"].reports["markdown"]
    assert "Fixed since the baseline" in steps["the leak fixed"].reports["markdown"]


def test_relabelled_images_cause_only_label_errors(history):
    classes, images, steps = history
    wrong = {f"train/{classes[(number + 3) % CLASSES]}/{path.name}" for number, label in enumerate(classes) for path in images[label][6:8]}
    found = steps["sixteen relabelled"].caused("new")
    assert {check for check, _, _ in found} == {"label_errors"}
    names = {name for _, _, name in found}
    assert len(names & wrong) > 12
    assert len(names & wrong) > len(names - wrong)


def test_renames_and_moves_change_no_findings(history):
    classes, _, steps = history
    assert steps["a class renamed"].renamed_classes == {classes[3]: "n99999999"}
    assert steps["a class renamed"].findings == []
    assert steps["three moved"].findings == []


def test_dropped_images_fix_findings_and_clean_images_add_no_certain_ones(history):
    classes, _, steps = history
    assert steps["a class dropped"].caused("new") == []
    assert all(f"/{classes[4]}/" in name for _, _, name in steps["a class dropped"].caused("fixed"))
    certain = {"conflicting_labels", "exact_duplicates", "integrity", "leakage", "near_duplicates", "privacy"}
    assert not {check for check, _, _ in steps["clean images added"].caused("new")} & certain
    assert steps["clean images added"].caused("fixed") == []
