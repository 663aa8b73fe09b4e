"""Messages, help, documentation and names are in plain technical English: words that were overused before are rejected."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("audit", "reports", "dashboard")
MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
SCRIPTS = [path for folder in ("tests", "benchmarks", "examples") for path in sorted((ROOT / folder).rglob("*.py")) if path != Path(__file__)]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
"""docs/command-line.md is what --help prints, which test_docs.py compares."""

WRAPPED = 120
"""Characters of a line of Markdown."""

RIGHT_ENGLISH = r"better|different|fewer|good|less|longer|more|need|other|way|worse"
"""Words that may follow "is no": "it is no longer there"."""

PHRASES = {
    r"anew": "again",
    r"nobody|no one": "name the subject",
    r"of whom": "split the sentence",
    r"mend(s|ed|ing)?": "fix, hint",
    r"told": "reported, listed, printed",
    rf"(?<!there )(is|are|was|were) no (?!({RIGHT_ENGLISH})\b)\w+": "is not a valid ..., is not a ...",
    r"held? against": "compared with",
    r"there (is|are|was|were) none of": "unknown, does not exist",
    r"so many": "the number",
    r"as where": "for example if",
    r"(is|are) let go": "is removed, is dropped",
    r"answer key": "published facts",
    r"(byte |pixel )twins?": "identical copy",
    r"beside": "next to, with, in addition to",
    r"bears? (it|the|a)|borne": "has",
    r"codings?": "encoding",
    r"for ever|for good": "forever, permanently",
    r"further": "other, more",
    r"g[ai]v(e|es|en|ing) away": "predict",
    r"name an?(other)? (file|folder|run|copy|new)": "pass a ..., choose another ...",
    r"(propert(y|ies)|column) of values": "categorical property",
    r"whatever|wherever": "any",
}
"""Phrase -> what to write instead."""

PARTS = frozenset({"comparer", "comparers", "mend", "mends", "settlement", "settlements", "telling", "told", "twin", "twins"})
"""Words that no identifier contains."""


def phrases_in(text):
    """Yield each rejected phrase of a text with what to write instead."""
    for phrase, better in PHRASES.items():
        for found in re.finditer(rf"\b(?:{phrase})\b", text, re.IGNORECASE):
            yield f"{found[0]!r} in {text.strip()[:100]!r}: {better}"


class Messages(ast.NodeVisitor):
    """Collect the string literals of a module with their lines. An f-string's values become ``{}``.

    Docstrings are included only for checks, because ``imagenet-audit checks NAME`` prints them.
    """

    def __init__(self, docstrings):
        self.found, self.docstrings = [], docstrings

    def visit_Expr(self, node):
        if self.docstrings or not (isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)):
            self.generic_visit(node)

    def visit_Constant(self, node):
        if isinstance(node.value, str) and " " in node.value:
            self.found.append((node.lineno, node.value))

    def visit_JoinedStr(self, node):
        self.found.append((node.lineno, "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)))
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                self.visit(part.value)


def identifiers(tree):
    """Yield the names that a module defines or uses, with their lines."""
    for node in ast.walk(tree):
        for field in ("name", "id", "attr", "arg", "asname"):
            name = getattr(node, field, None)
            if isinstance(name, str):
                yield getattr(node, "lineno", 0), name


def parts(identifier):
    """Return the words of an identifier, in lower case."""
    return {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", identifier)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_messages_are_plain(path):
    messages = Messages(docstrings=path.parent.name == "checks")
    messages.visit(ast.parse(path.read_text(encoding="utf-8")))
    problems = [f"{path.name}:{line}: {problem}" for line, text in messages.found for problem in phrases_in(text)]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_are_plain(path):
    """Code in backticks is not prose."""
    lines = enumerate(re.sub(r"`[^`\n]+`", "``", path.read_text(encoding="utf-8")).splitlines(), 1)
    problems = [f"{path.name}:{number}: {problem}" for number, line in lines for problem in phrases_in(line)]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_are_wrapped(path):
    """Except for tables, code, generated lists, and lines that cannot be broken."""
    fenced, generated, problems = False, False, []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fenced ^= line.startswith("```")
        generated = (generated or "<!-- checks" in line) and "<!-- end of checks" not in line
        free = fenced or generated or line.startswith(("|", "```", "![", "<")) or " " not in line.strip("- ")
        if not free and len(line) > WRAPPED:
            problems.append(f"{path.name}:{number}: {len(line)} characters")
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("path", [*MODULES, *SCRIPTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_names_are_plain(path):
    names = {(line, name) for line, name in identifiers(ast.parse(path.read_text(encoding="utf-8"))) if parts(name) & PARTS}
    names |= {(0, path.stem)} if parts(path.stem) & PARTS else set()
    assert not names, "\n".join(f"{path.name}:{line}: {name}" for line, name in sorted(names))
