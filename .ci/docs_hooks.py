"""MkDocs hooks: list the pages of the checks, and drop the links that lead out of docs/."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

_LINK = re.compile(r"\[([^\]]+)\]\(([^)#\s]+)[^)\s]*\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Replace each folder of the navigation by its pages, so that a new check needs no line in mkdocs.yml."""
    config.nav = _expanded(config.nav, Path(config.docs_dir))
    return config


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Keep only the text of links to files of the repository that are not on the site."""
    docs = Path(config.docs_dir).resolve()
    folder = (docs / page.file.src_uri).parent

    def plain(link: re.Match[str]) -> str:
        text, target = link.groups()
        inside = "://" in target or (folder / target).resolve().is_relative_to(docs)
        return link[0] if inside else text

    return _LINK.sub(plain, markdown)


def _expanded(entry: Any, docs: Path) -> Any:
    if isinstance(entry, list):
        return [_expanded(part, docs) for part in entry]
    if isinstance(entry, dict):
        return {title: _expanded(part, docs) for title, part in entry.items()}
    if not entry.endswith("/"):
        return entry
    pages = sorted(path.name for path in (docs / entry).glob("*.md"))
    return [f"{entry}{name}" for name in sorted(pages, key=lambda name: (name != "index.md", name))]
