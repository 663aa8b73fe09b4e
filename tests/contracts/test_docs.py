"""The documentation matches the program. ``python tests/contracts/test_docs.py`` regenerates docs/command-line.md."""

import re
import shlex
from pathlib import Path

import click
import pytest

from audit.cli import commands
from audit.commands.base import PROGRAM
from audit.config import ScanOptions, scan_hints
from audit.sources import SourceOptions

ROOT = Path(__file__).resolve().parents[2]
COMMAND_LINE = ROOT / "docs" / "command-line.md"
WIDTH = 100
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

INTRODUCTION = """# Command line

Generated from `--help` by `python tests/contracts/test_docs.py`; a test keeps it current.

Results go to standard output, progress and notes to standard error.

Exit codes: 0 success; 2 error (one line names the problem and the fix); 130 interrupted. Commands with further codes list them. Run the same command
again to resume a scan that was interrupted or killed.
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


def blocks(page, language):
    """Fenced code of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_command_line_page_is_what_help_prints():
    assert COMMAND_LINE.read_text(encoding="utf-8") == command_line(), "regenerate it: python tests/contracts/test_docs.py"


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
    """Every ``imagenet-audit`` line parses: its command exists and knows its options."""
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
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_two_commands_do_all_set_up():
    block = "\n".join(blocks(ROOT / "README.md", "sh"))
    assert "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/imagenet-audit demo" in block
    assert "python3 -m venv .venv && .venv/bin/pip install -e '.[dev]' && .venv/bin/pytest" in block


def test_python_examples_run(small_run, monkeypatch, capsys):
    """They read a finished run; ``audit.scan`` gives one without scanning, which other tests do."""
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


if __name__ == "__main__":
    COMMAND_LINE.write_text(command_line(), encoding="utf-8")
