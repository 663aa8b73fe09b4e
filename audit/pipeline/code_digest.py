"""Digests of code: a stage whose code has changed runs again."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec, resolve_name


def code_digest(*modules: str) -> str:
    """Return a digest of the sources of modules (dotted names) and of all modules of their package that they import, directly or indirectly.

    Includes imports inside functions, but not those under ``TYPE_CHECKING``. A module without source, such as a compiled one, enters by name.

    Raises:
        ModuleNotFoundError: one of ``modules`` does not exist; a stale name would never invalidate its stage.
    """
    for name in modules:
        if name not in sys.modules and find_spec(name) is None:
            raise ModuleNotFoundError(f"no module named {name!r}", name=name)
    seen: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += _module(name)[1]
    total = hashlib.sha256()
    for name in sorted(seen):
        total.update(f"{name}\0{_module(name)[0]}\0".encode())
    return total.hexdigest()[:32]


@cache  # a loaded module does not change when its file does
def _module(name: str) -> tuple[str, tuple[str, ...]]:
    """Return the digest of a module's source, and the modules of its top-level package that it imports."""
    try:
        spec = find_spec(name)
        source = spec.loader.get_source(name) if spec and spec.loader and hasattr(spec.loader, "get_source") else None
    except (ImportError, ValueError):
        source, spec = None, None
    if source is None:
        return "", ()
    package = name if spec and spec.submodule_search_locations is not None else name.rpartition(".")[0]
    top = name.partition(".")[0]
    found = {target for node in _nodes(ast.parse(source)) for target in _targets(node, package, top)}
    return hashlib.sha256(source.encode()).hexdigest(), tuple(sorted(found))


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        yield node
        yield from _nodes(node)


def _targets(node: ast.AST, package: str, top: str) -> list[str]:
    """Return the modules below ``top`` that a node imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if alias.name.partition(".")[0] == top]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module or ""
    if base.partition(".")[0] != top:
        return []
    # A name imported from a package may be a module. For a plain module, find_spec would import it.
    spec = find_spec(base)
    inside = [f"{base}.{alias.name}" for alias in node.names] if spec and spec.submodule_search_locations is not None else []
    return [base, *(name for name in inside if find_spec(name) is not None)]
