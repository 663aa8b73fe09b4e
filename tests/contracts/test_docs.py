"""The documentation matches the program. ``python tests/contracts/test_docs.py`` rewrites docs/command-line.md and the lists of checks."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import get_args

import click
import pytest

from audit.checks import discover
from audit.checks.base import Family
from audit.cli import commands
from audit.commands.base import PROGRAM
from audit.config import ScanOptions, scan_hints
from audit.exports import exports
from audit.io.plugins import CHECKS as CHECK_PLUGINS
from audit.io.plugins import REPORT_FORMATS
from audit.sources import SourceOptions

ROOT = Path(__file__).resolve().parents[2]
COMMAND_LINE = ROOT / "docs" / "command-line.md"
WIDTH = 100
PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md")), *sorted((ROOT / "docs").rglob("*.md"))]
CHECK_PAGES = [page for page in PAGES if page.parent == ROOT / "docs" / "checks" and page.stem != "index"]
SECTIONS = ("What it finds", "How it works", "Options", "Evidence", "How good it is", "Blind spots", "References")

INTRODUCTION = """# Command line

Generated from `--help` by `python tests/contracts/test_docs.py`; a test keeps it current.

Results go to standard output, progress and notes to standard error.

Exit codes: 0 success; 2 error (one line names the problem and the fix); 130 interrupted. Commands with other codes
list them. Run the same command again to resume a scan that was interrupted or killed.
"""


def every_command(name, command):
    """A command, and those below it where it is a group."""
    found = [(name, command)]
    if isinstance(command, click.Group):
        with click.Context(command) as context:
            for below in command.list_commands(context):
                found += every_command(f"{name} {below}", command.get_command(context, below))
    return found


def command_line():
    """The page as it should be: what ``--help`` prints, for every command."""
    parts = [INTRODUCTION]
    for name, command in every_command(PROGRAM, commands):
        with click.Context(command, info_name=name, terminal_width=WIDTH, max_content_width=WIDTH, help_option_names=["-h", "--help"]) as context:
            parts.append(f"## {name}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def own_checks():
    """The checks of this repository, those of one page of the dashboard together."""
    families = get_args(Family)
    own = [check for name, check in discover().items() if CHECK_PLUGINS.get(name).origin == f"audit.checks.{name}"]
    return sorted(own, key=lambda check: (families.index(check.family), check.name))


def check_lists():
    """Page -> the page with its list of checks as it should be."""
    rows = [f"| [`{check.name}`](docs/checks/{check.name}.md) | {check.title.removesuffix('.')} |" for check in own_checks()]
    lines = [f"  - [{check.name}](checks/{check.name}.md): {check.title}" for check in own_checks()]
    wanted = {ROOT / "README.md": ["| check | what it finds |", "|---|---|", *rows], ROOT / "docs" / "index.md": lines}
    return {page: written_between_marks(page, "\n".join(text)) for page, text in wanted.items()}


def written_between_marks(page, text):
    before, begin, rest = re.split(r"( *<!-- checks: [^\n]*-->\n)", page.read_text(encoding="utf-8"))
    _, end, after = re.split(r"( *<!-- end of checks -->\n)", rest)
    return f"{before}{begin}{text}\n{end}{after}"


def blocks(page, language):
    """Fenced code of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_command_line_page_is_what_help_prints():
    assert COMMAND_LINE.read_text(encoding="utf-8") == command_line(), "run: python tests/contracts/test_docs.py"


@pytest.mark.parametrize("page", check_lists(), ids=lambda page: page.name)
def test_lists_of_checks_are_complete(page):
    assert page.read_text(encoding="utf-8") == check_lists()[page], "rewrite it: python tests/contracts/test_docs.py"


def test_every_export_has_its_row():
    rows = dict(re.findall(r"^\| `([\w-]+)` \| (.*?) \|", (ROOT / "docs" / "exports.md").read_text(encoding="utf-8"), re.MULTILINE))
    for name, known in exports().items():
        assert rows[name] == "the same" or rows[name] == ("a folder" if known.writes_folder else ", ".join(f"`{ending}`" for ending in known.endings))


def test_every_report_format_is_an_entry_point():
    modules = {path.stem for path in (ROOT / "reports").glob("*.py")} - {"__init__", "base"}
    announced = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"][REPORT_FORMATS.group]
    assert announced == {name: f"reports.{name}:render" for name in modules}


def test_every_option_is_on_the_page():
    page = COMMAND_LINE.read_text(encoding="utf-8")
    for _, command in every_command(PROGRAM, commands):
        for parameter in command.params:
            for option in parameter.opts if isinstance(parameter, click.Option) else []:
                assert option in page, option


def test_every_key_of_a_file_is_documented_with_its_default():
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    defaults = ScanOptions()
    for name in scan_hints():
        if name not in ("source", "checks"):
            row = re.search(rf"^\| `{name}` \|(.*)$", page, re.MULTILINE)
            assert row, name
            value = getattr(defaults, name)
            shown = {None: "none", True: "true", False: "false"}.get(value) if value is None or isinstance(value, bool) else value
            shown = "[]" if value == () else f'"{value}"' if isinstance(value, str) else shown
            assert f"| `{shown}` |" in row[0], (name, shown)
    for name in SourceOptions.__dataclass_fields__:
        assert re.search(rf"^\| `{name}` \|", page, re.MULTILINE), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_text_exist(page):
    """Parse every ``imagenet-audit`` line: its command exists and has its options."""
    for block in blocks(page, "(?:sh|console|bash)"):
        for line in block.replace("\\\n", " ").splitlines():
            for part in line.split("&&"):
                words = shlex.split(part.removeprefix("$ "), comments=True)
                if not words or Path(words[0]).name != PROGRAM:
                    continue
                if words[1] in ("--help", "--version"):
                    continue
                command = commands.get_command(click.Context(commands), words[1])
                assert command, line
                known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
                assert {word.split("=")[0] for word in words[2:] if word.startswith("-")} <= known, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_have_targets(page):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", CHECK_PAGES, ids=lambda page: page.stem)
def test_pages_of_checks_have_the_same_sections(page):
    lines = page.read_text(encoding="utf-8").splitlines()
    assert tuple(line.removeprefix("## ") for line in lines if line.startswith("## ")) == SECTIONS
    empty = [line for line, after in pairwise(filter(None, lines)) if line.startswith("## ") and after.startswith("## ")]
    assert not empty


def test_site_builds_and_loads_nothing_from_other_hosts(tmp_path):
    """``--strict`` fails on broken links and on pages that the navigation lacks."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    for page in tmp_path.rglob("*.html"):
        assert not re.findall(r"(?:<link[^>]+href|src)=[\"']?(?:https?:)?//[^\"'\s>]+", page.read_text(encoding="utf-8")), page


def test_architecture_describes_every_folder():
    tree = "\n".join(blocks(ROOT / "ARCHITECTURE.md", "text"))
    folders = [path.parent for path in (ROOT / "audit").rglob("__init__.py")]
    assert not [str(folder) for folder in folders if not re.search(rf"^ *{folder.name}/", tree, re.MULTILINE) and folder.parent.name != "engines"]


def test_architecture_names_files_that_exist():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    paths = re.findall(r"`((?:audit|dashboard|reports|tests|docs)/[\w./]+)`", text)
    assert len(paths) > 10
    assert not [path for path in paths if "NAME" not in path and not (ROOT / path).exists()]


def test_the_two_commands_do_all_set_up():
    block = "\n".join(blocks(ROOT / "README.md", "sh"))
    assert "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/imagenet-audit demo" in block
    assert "python3 -m venv .venv && .venv/bin/pip install -e '.[dev]' && .venv/bin/pytest" in block


def test_python_examples_run(small_run, monkeypatch, capsys):
    """Run them on a finished run; other tests scan."""
    import audit

    examples = [block for page in PAGES if page.name in ("README.md", "index.md", "configuration.md") for block in blocks(page, "python")]
    assert examples
    calls = []
    monkeypatch.setattr(audit, "scan", lambda *arguments, **options: calls.append((arguments, options)) or small_run, raising=False)
    monkeypatch.setattr(audit, "open_run", lambda path: small_run, raising=False)
    for example in examples:
        exec(compile(example, "example", "exec"), {})
    assert calls
    assert capsys.readouterr().out


def test_threat_model_names_tests_that_exist():
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / "threat-model.md").read_text())
    assert named
    assert [(path, test) for path, test in named if f"def {test}(" not in (ROOT / path).read_text()] == []


if __name__ == "__main__":
    COMMAND_LINE.write_text(command_line(), encoding="utf-8")
    for page, text in check_lists().items():
        page.write_text(text, encoding="utf-8")
