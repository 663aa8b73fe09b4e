"""Another installed distribution adds a plug-in of every kind without a change to this repository."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]

ENTRY_POINTS = """\
[imagenet_audit.checks]
reddish = outside.reddish

[imagenet_audit.sources]
numbered = outside.numbered

[imagenet_audit.exports]
id-list = outside.id_list

[imagenet_audit.formats]
one_line = outside.one_line:render

[imagenet_audit.gate_formats]
short = outside.short

[imagenet_audit.commands]
hello = outside.hello:hello
"""

MODULES = {
    "__init__": "",
    "reddish": '''
"""Images with red in their name.

Blind spots: red images with other names.
"""

import numpy as np

from audit.checks.base import Evidence, Finding, Result

KINDS = ("red",)
FAMILY = "bias"
TITLE = "Red images"
EVIDENCE = {"redness": Evidence("Share of red", "share")}


def run(samples):
    red = samples["sample_id"].str.contains("red").to_numpy(float)
    findings = [
        Finding(kind="red", score=0.9, message="Red. Look at it.", row=row, evidence={"redness": 0.875}) for row in np.flatnonzero(red).tolist()
    ]
    return Result(red.astype(np.float32), findings)
''',
    "numbered": '''
"""A folder with the suffix .numbered."""

from pathlib import Path

from audit.sources.base import Sample

KIND = "numbered"
RANK = 1
OPTIONS = frozenset()


class Numbered:
    kind = KIND

    def __init__(self, location):
        self.location, self.ignored, self.problems = location, {}, []

    def class_words(self, labels):
        return {}

    def collect(self):
        for path in sorted(Path(self.location).iterdir()):
            yield Sample(path.name, path.name, str(path.stat().st_size), label=path.stem[:3])

    def read(self, source_ref):
        return (Path(self.location) / source_ref).read_bytes()


def matches(location, options):
    return location.endswith(".numbered")


def open_kind(location, options):
    return Numbered(location)
''',
    "id_list": '''
"""Names of all images, one per line."""

ENDINGS = (".ids",)


def write(run, actions, out):
    names = run.columns("sample_id")["sample_id"].tolist()
    out.write_text("\\n".join(names), encoding="utf-8")
    return {"images": len(names)}
''',
    "one_line": '''
"""The number of findings."""

ENDINGS = (".line",)


def render(run):
    return f"{len(run.findings)} findings\\n"
''',
    "short": '''
"""The exit code."""


def render(gate):
    return f"exit {gate.exit_code}\\n"
''',
    "hello": '''
import click


@click.command()
def hello():
    """Greet."""
    click.echo("hello from outside")
''',
}

PAGE = """
import json
import sys
from audit import open_run
from dashboard.api import content, queues
from dashboard.api.desk import Desk

desk = Desk(open_run(sys.argv[1]))
(card,) = content.cards(desk, queues.queue(desk, queues.Wanted("bias", {"checks": ("reddish",)})).ids)
print(json.dumps(card["findings"]))
"""


def install(folder, entry_points, modules):
    """Write a distribution like an installer."""
    (folder / "outside").mkdir(parents=True)
    for name, source in modules.items():
        (folder / "outside" / f"{name}.py").write_text(source.lstrip("\n"), encoding="utf-8")
    metadata = folder / "outside-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text(entry_points, encoding="utf-8")
    return folder


def python(folder, *arguments):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)]), "COLUMNS": "200"}
    return subprocess.run([sys.executable, *map(str, arguments)], env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Scan a dataset that only the other distribution can read, with its check."""
    world = tmp_path_factory.mktemp("outside")
    install(world / "site", ENTRY_POINTS, MODULES)
    data = world / "images.numbered"
    data.mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        name = f"{'cat' if number % 2 else 'dog'}-{'red' if number == 0 else 'plain'}-{number}.png"
        Image.fromarray(rng.integers(0, 256, (48, 48, 3), np.uint8)).save(data / name)
    scanned = python(world / "site", "-m", "audit.cli", "scan", data, "--out", world / "run", "--backbone", "embedded", "--offline", "--quiet")
    assert scanned.returncode == 0, scanned.stderr
    return world


@pytest.fixture(scope="module")
def command(world):
    def command(*arguments, code=0):
        result = python(world / "site", "-m", "audit.cli", *arguments)
        assert result.returncode == code, result.stderr
        return result.stdout + result.stderr

    return command


def test_check(world, command):
    assert "Images with red in their name." in command("checks")
    assert "Blind spots: red images" in command("checks", "reddish")
    record = json.loads((world / "run" / "run.json").read_text(encoding="utf-8"))
    assert record["checks"]["reddish"]["findings"] == 1


def test_finding_in_dashboard_and_reports(world, command):
    page = python(world / "site", "-c", PAGE, world / "run")
    assert page.returncode == 0, page.stderr
    (finding,) = (finding for finding in json.loads(page.stdout) if finding["check"] == "Red images")
    assert ["Share of red", "87.5%"] in finding["evidence"]
    command("report", world / "run", "--out", world / "out.html")
    html = (world / "out.html").read_text(encoding="utf-8")
    assert all(text in html for text in ("<h2>Red images</h2>", "<dt>Share of red</dt><dd>87.5%</dd>", "Red. Look at it."))
    command("report", world / "run", "--out", world / "out.md")
    assert "`reddish`" in (world / "out.md").read_text(encoding="utf-8")


def test_source_kind(world, command):
    assert "numbered" in command("scan", "--help")
    record = json.loads((world / "run" / "run.json").read_text(encoding="utf-8"))
    assert (record["source"]["kind"], record["counts"]["scanned"]) == ("numbered", 6)


def test_export(world, command):
    assert "id-list" in command("export", "--help")
    command("export", world / "run", "--what", "id-list", "--out", world / "all.ids")
    assert len((world / "all.ids").read_text(encoding="utf-8").splitlines()) == 6


def test_report_format(world, command):
    assert "one_line" in command("report", "--help")
    command("report", world / "run", "--out", world / "a.line")
    assert (world / "a.line").read_text(encoding="utf-8").endswith(" findings\n")
    assert command("report", world / "run", "--format", "one_line", "--out", "-") == (world / "a.line").read_text(encoding="utf-8")


def test_gate_format(world, command):
    assert "short" in command("check", "--help")
    (world / "policy.toml").write_text("[limits]\nreddish = 0\n", encoding="utf-8")
    command("check", world / "run", "--policy", world / "policy.toml", "--report", f"short={world / 'verdict'}", code=1)
    assert (world / "verdict").read_text(encoding="utf-8") == "exit 1\n"


def test_command(command):
    assert "Greet." in command("--help")
    assert command("hello") == "hello from outside\n"


@pytest.mark.parametrize(
    ("entry_points", "arguments", "line"),
    [
        ("[imagenet_audit.checks]\nbad = outside.missing\n", ("checks",), "imagenet_audit.checks: bad = outside.missing: cannot be loaded"),
        ("[imagenet_audit.checks]\nleakage = outside\n", ("checks",), "defined twice: by audit.checks.leakage and imagenet_audit.checks: leakage"),
        ("[imagenet_audit.sources]\ntar = outside\n", ("scan", ".", "--out", "run"), "defined twice: by audit.sources.tar"),
    ],
)
def test_faulty_plugin_is_a_one_line_error(tmp_path, entry_points, arguments, line):
    result = python(install(tmp_path, entry_points, {"__init__": ""}), "-m", "audit.cli", *arguments)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert line in result.stderr
