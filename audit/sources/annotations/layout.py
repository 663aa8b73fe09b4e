"""Detect which folders of a dataset are splits, classes, columns or wrappers. Pure functions over relative paths."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from audit.sources.storage.problems import named

_ONE_SPLIT = (
    ("train", "training", "train_set", "trainset"),
    ("val", "valid", "validation", "val_set", "valset"),
    ("test", "testing", "test_set", "testset"),
    ("eval", "evaluation"),
    ("dev", "development"),
    ("unlabeled", "unlabelled"),
)
"""Usual names of the same split; a dataset with two of them most likely has one split under two names."""

SPLIT_NAMES = frozenset({*chain(*_ONE_SPLIT), "trainval", "holdout", "extra"})
"""Folder names that are splits if all their sibling folders are; compared case-insensitively."""

_WORDS = {word: names[0] for names in _ONE_SPLIT for word in names} | {
    **dict.fromkeys(("holdout", "eval", "evaluation", "ts"), "test"),
    "dev": "val",
    "development": "val",
    "tr": "train",
}
_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")

_CONTAINERS = frozenset(
    "images image imgs img jpegimages jpg jpeg jpegs png pngs photos photo pictures pics frames data files raw rgb inputs input samples all".split()  # noqa: SIM905
)
"""Names of folders that hold all images of a dataset or of a split, and say nothing about them."""
_DOMAINS = frozenset(
    "art art_painting cartoon photo photos sketch clipart product real real_world infograph quickdraw painting amazon webcam dslr caltech "  # noqa: SIM905
    "color colour grayscale greyscale gray grey segmented rgb infrared thermal day night synthetic mnist svhn usps".split()
)
_VIEWS = frozenset("left right front back side top bottom indoor outdoor day night images masks good bad".split())  # noqa: SIM905
_FOLD = re.compile(r"(k?fold|cv)[-_ ]?\d+", re.IGNORECASE)

_PAIRED = re.compile(r"segmentation(class|object)?|masks?|labels?|annotations?|gt|ground[_-]?truths?|depth|heatmaps?|edges?|trimaps?", re.IGNORECASE)
"""Names of folders with images that belong to other images, such as masks."""

SPLIT, CLASS, SKIPPED = "split", "class", "*"
"""Roles of a level of folders; any other role is the name of a metadata column."""


def is_split(name: str) -> bool:
    """Return whether a folder has the name of a split."""
    return name.lower() in SPLIT_NAMES


def usual_split(name: str) -> str | None:
    """Return the canonical name of a split with several usual names; None for any other name.

    >>> usual_split("Validation"), usual_split("val"), usual_split("north")
    ('val', 'val', None)
    """
    return next((names[0] for names in _ONE_SPLIT if name.lower() in names), None)


def split_in(name: str) -> str | None:
    """Return the split that one word of a name stands for; None if no word does, or words of two splits.

    Words are separated by anything but letters, by digits and by capitals, as in file names of Hugging Face datasets.

    >>> [split_in(name) for name in ("seg_train", "train2017", "testImages", "data-dev-0001", "train_test", "trainer")]
    ['train', 'train', 'test', 'val', None, None]
    """
    found = {_WORDS[word] for part in _PART.findall(name) if (word := part.lower()) in _WORDS}
    return found.pop() if len(found) == 1 else None


def split_word(name: str) -> str | None:
    """Return the word of a file's name that is a split, in lower case; None if there is none.

    >>> [split_word(name) for name in ("train", "cats_Valid_03", "trainval", "data")]
    ['train', 'valid', 'trainval', None]
    """
    if is_split(name):
        return name.lower()
    return next((part.lower() for part in _PART.findall(name) if part.lower() in _WORDS), None) if split_in(name) else None


def split_of_file(path: str) -> str | None:
    """Return the split that a file's name, or else the nearest of its folders, stands for: ``train.parquet``, ``default/train/0000.parquet``.

    >>> split_of_file("default/test/train-images.parquet"), split_of_file("default/test/0000.parquet"), split_of_file("a/0000.parquet")
    ('train', 'test', None)
    """
    *folders, name = path.split("/")
    return next((word for part in (name.split(".")[0], *reversed(folders)) if (word := split_word(part))), None)


class Placed(NamedTuple):
    """What a file's folders say about it."""

    path: str
    """The path without wrapper folders."""
    split: str | None
    label: str | None
    columns: Mapping[str, str]
    """Folders that are metadata, by column."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A choice between two readings of a tree."""

    why: str
    """How the folders are read and why, without a final period."""
    other: str
    """The value of the option ``layout`` for the other reading."""
    severity: str


@dataclass(frozen=True, slots=True)
class Layout:
    """How to read a dataset's folders."""

    depth: int
    """Number of leading wrapper folders: 1 in ``tiny-imagenet-dev/train/n01443537/0.JPEG``."""
    roles: tuple[str, ...]
    """The role of each level below the wrappers: ``split``, ``class``, ``*`` (skipped) or the name of a column; deeper levels are skipped."""
    readings: tuple[Reading, ...] = ()
    """Choices that another reader might have made otherwise."""

    @property
    def has_splits(self) -> bool:
        """Whether a level of folders is the split."""
        return SPLIT in self.roles

    def __str__(self) -> str:
        return "/".join(self.roles) or "flat"

    def read(self, path: str) -> Placed:
        """Return what the folders of a relative path say."""
        parts = path.split("/")[self.depth :]
        found = dict(zip(self.roles, parts[:-1], strict=False))
        split, label = found.pop(SPLIT, None), found.pop(CLASS, None)
        found.pop(SKIPPED, None)
        return Placed("/".join(parts), split, label, found)


def given_layout(pattern: str, folders: Iterable[str]) -> Layout:
    """Return the layout that a pattern such as ``domain/class`` describes; wrapper folders are removed while the pattern still fits.

    >>> given_layout("split/class", ["photos/a/cat", "photos/b/cat"]).read("photos/a/cat/1.jpg")[1:3]
    ('a', 'cat')
    """
    roles = tuple(role.strip() for role in pattern.strip("/").split("/")) if pattern != "flat" else ()
    paths = [tuple(folder.split("/")) if folder else () for folder in set(folders)]
    depth = 0
    while len({path[depth : depth + 1] for path in paths}) == 1 and all(len(path) > max(depth + len(roles), depth + 1) for path in paths):
        depth += 1
    return Layout(depth, roles)


def detect_layout(folders: Iterable[str]) -> Layout:
    """Return the layout of a dataset from the folders that hold images.

    Args:
        folders: relative paths, '/' separated, of every folder that directly contains an image; ``""`` is the root.

    A single top folder that is not a split is a wrapper if every image is in a deeper folder, so that at least a class remains. Then each level of
    folders gets a role from its names and from the names below them.

    >>> str(detect_layout(["photos/train/cat", "photos/val/cat"]))
    'split/class'
    >>> str(detect_layout(["train", "plane"]))
    'class'
    >>> str(detect_layout(["art/dog", "art/cat", "art/cow", "photo/dog", "photo/cat", "photo/cow"]))
    'domain/class'
    """
    paths = [tuple(folder.split("/")) if folder else () for folder in set(folders)]
    depth = 0
    while True:
        tops = {path[depth] for path in paths if len(path) > depth}
        if (tops and all(map(is_split, tops))) or len(tops) != 1 or any(len(path) < depth + 2 for path in paths):
            break
        depth += 1
    below = [path[depth:] for path in paths]
    hidden = _containers_between(below)
    roles, readings = _roles([tuple(part for at, part in enumerate(path) if at not in hidden) for path in below])
    for at in hidden:  # a level that holds all images of the level above it says nothing: amazon/images/mug
        if at <= len(roles):
            roles.insert(at, SKIPPED)
    return Layout(depth, tuple(roles), tuple(readings))


def _containers_between(paths: Sequence[tuple[str, ...]]) -> list[int]:
    """Return the levels at which every path has the same folder that is named as one that holds all images, with folders below it."""
    least = min(map(len, paths), default=0)
    return [at for at in range(1, least - 1) if len({path[at] for path in paths}) == 1 and paths[0][at].lower() in _CONTAINERS]


def _roles(paths: Sequence[tuple[str, ...]]) -> tuple[list[str], list[Reading]]:  # noqa: C901  one case per kind of level
    roles: list[str] = []
    readings: list[Reading] = []
    while CLASS not in roles:
        level = len(roles)
        below: dict[str, set[str]] = defaultdict(set)
        flat = 0
        for path in paths:
            if len(path) > level:
                below[path[level]].update(path[level + 1 : level + 2])
                flat += len(path) == level + 1
        if not below:
            break
        names, children = set(below), set().union(*below.values())
        found = None if SPLIT in roles else _as_splits(below, any(len(path) <= level for path in paths))
        if found is not None:
            roles.append(SPLIT)
            readings += found
        elif level and all(path[level] == path[level - 1] for path in paths if len(path) > level):
            roles.append(SKIPPED)  # seg_train/seg_train
        elif len(names) == 1 and (_is_container(names) or (flat == len(paths) and SPLIT not in roles)):
            roles.append(SKIPPED)
            if not children:
                readings += _alone(next(iter(names)), roles)
        elif any(map(_PAIRED.fullmatch, names)) and all(_PAIRED.fullmatch(name) or _is_container([name]) for name in names) and len(names) > 1:
            roles.append("folder")
            why = f"{_listed(names)} have names of folders of images and of their masks, and are not read as classes"
            readings.append(Reading(why, "/".join([*roles[:-1], CLASS]), "warning"))
        elif not flat and SPLIT not in roles and _as_splits({name: set() for name in children}, mixed=False, strict=True) is not None:
            more = {path[level + 2] for path in paths if len(path) > level + 2}
            roles += [SKIPPED if len(names) == 1 else "folder" if len(more) > 1 else CLASS, SPLIT]
            readings += _below_classes(names, roles)
        elif not flat and (column := _column(below, children)) is not None:
            roles += _two_levels(below, children, column, readings, roles)
        else:
            roles.append(CLASS)
    return roles, readings


def _is_container(names: Iterable[str]) -> bool:
    return all(name.lower() in _CONTAINERS for name in names)


def _as_splits(below: Mapping[str, set[str]], mixed: bool, *, strict: bool = False) -> list[Reading] | None:  # noqa: FBT001
    """Return the readings if the names of a level are splits, else None.

    Args:
        below: the folders below each name.
        mixed: whether there are images above this level.
        strict: whether names must be of two splits at least.
    """
    kinds = {name: split_in(name) or (name.lower() if is_split(name) else None) for name in below}
    distinct = {kind for kind in kinds.values() if kind}
    if all(map(is_split, below)) and (len(distinct) > 1 or not strict):
        return []
    splits, others = [sorted(name for name in below if bool(kinds[name]) is known) for known in (True, False)]
    shared = _share([below[name] for name in splits])
    if mixed or len(splits) < 2 or (strict and (others or len(distinct) < 2)):
        return None
    if not others and (len(distinct) > 1 or shared >= 0.5):
        severity = "info" if shared >= 0.5 or strict or all(map(_is_plain, splits)) else "warning"
        return [Reading(f"{_listed(splits)} are read as splits, because their names contain words of splits", "class", severity)]
    known = set().union(*(below[name] for name in splits))
    fits = shared >= 0.5 or (_affix(splits) and len({*known}) > 1)
    if others and len(distinct) > 1 and (fits or (_affix([*splits, *others]) and not known)):
        why = f"{_listed(splits)} are read as splits, and so {'is' if len(others) == 1 else 'are'} {_listed(others)} next to them"
        alike = _affix([*splits, *others]) or all(below[name] <= known for name in others)
        return [Reading(why, "class", "info" if alike else "warning")]
    return None


def _is_plain(name: str) -> bool:
    """Return whether a name has no words but that of a split, numbers and ``images``: ``train2017``, ``test_images``."""
    return all(part.isdigit() or (word := part.lower()) in _WORDS or word in _CONTAINERS or word in ("set", "split") for part in _PART.findall(name))


def _affix(names: Sequence[str]) -> bool:
    """Return whether all names start with the same word or end with it."""
    parts = [_PART.findall(name) for name in names]
    return all(len(part) > 1 for part in parts) and any(len({part[at].lower() for part in parts}) == 1 for at in (0, -1))


def _share(sets: Sequence[set[str]]) -> float:
    """Return the mean share of all names that each of the sets has, 0..1."""
    union = set().union(*sets)
    return sum(len(names) for names in sets) / (len(sets) * len(union)) if union else 0.0


def _alone(name: str, roles: Sequence[str]) -> Iterator[Reading]:
    every = "/".join([*roles[:-1], CLASS])
    yield Reading(f"all images are in folders named {name!r}, which is not read as a class", every, "info")


def _below_classes(names: set[str], roles: Sequence[str]) -> Iterator[Reading]:
    if roles[-2] == CLASS:
        yield Reading(f"the folders below the classes ({_listed(names)}) have names of splits and are read as splits", "class", "info")
    elif roles[-2] != SKIPPED:
        why = f"the folders below {_listed(names)} have names of splits, so the folders below the splits are read as the classes"
        yield Reading(why, "/".join([*roles[:-2], CLASS, SPLIT]), "warning")


def _column(below: Mapping[str, set[str]], children: set[str]) -> str | None:
    """Return the name of the column for folders that have the same folders below them; None if theirs differ."""
    if len(below) > 1 and len(children) > 1:
        if all(len(name) == 1 and all(child.lower().startswith(name.lower()) for child in found) for name, found in below.items()):
            return "letter"
        if _share(list(below.values())) > 0.5:
            lower = {name.lower() for name in below}
            return "fold" if all(map(_FOLD.fullmatch, below)) else "domain" if len(lower & _DOMAINS) * 2 > len(lower) else "folder"
    return None


def _two_levels(below: Mapping[str, set[str]], children: set[str], column: str, readings: list[Reading], roles: Sequence[str]) -> list[str]:
    """Return the roles of a level and of the level below it, one of which is the class."""
    numbered = [all(map(str.isdigit, names)) for names in (below, children)]
    views = len({child.lower() for child in children} & _VIEWS) * 2 > len(children)
    known = column != "folder"
    lower_is_class = known or (numbered[0] and not numbered[1]) or (not views and not numbered[1] and len(children) > len(below))
    both = [column, CLASS] if lower_is_class else [CLASS, "subfolder"]
    other = [CLASS] if lower_is_class else ["folder", CLASS]
    shared = "start with the names of the" if column == "letter" else "repeat below the"
    why = f"the folders below {_listed(below)} ({_listed(children)}) {shared} top folders, "
    why += (
        f"so they are read as the classes and the upper ones as the column '{column}'"
        if lower_is_class
        else "but the upper ones are read as the classes"
    )
    readings.append(Reading(why, "/".join([*roles, *other]), "info" if known or views or numbered[1] else "warning"))
    return both


def _listed(names: Iterable[str]) -> str:
    shown = sorted(names)
    return named(map(repr, shown), len(shown))


def mistaken_splits(folders: Iterable[str], layout: Layout) -> tuple[list[str], list[str]]:
    """Return top folders that are read as classes although they look like splits, and their siblings that do not; empty if it may be intended.

    A class may have the name of a split (``train`` next to ``plane``). Two such classes are unlikely, as is one whose images are all in subfolders.

    >>> mistaken_splits(["train/cat", "north/cat"], Layout(0, ("class",)))
    (['train'], ['north'])
    >>> mistaken_splits(["train", "plane"], Layout(0, ("class",)))
    ([], [])
    """
    if layout.has_splits:
        return [], []
    below = [path for folder in set(folders) if (path := folder.split("/")[layout.depth :] if folder else [])]
    tops = sorted({path[0] for path in below})
    splits = [top for top in tops if is_split(top)]
    with_classes = [top for top in splits if all(len(path) > 1 for path in below if path[0] == top)]
    others = [top for top in tops if top not in splits]
    return (splits, others) if others and (len(splits) > 1 or with_classes) else ([], [])


def class_folders(candidates: Iterable[str], folders: Iterable[str], layout: Layout) -> list[str]:
    """Return, sorted, the candidates that would be classes if they contained images.

    Args:
        candidates: relative paths.
        folders: the folders that contain images.
        layout: the layout of ``folders``.

    >>> class_folders(["train/void", "notes/old", "test"], ["train/cat", "val/cat"], Layout(0, ("split", "class")))
    ['train/void']
    """
    if CLASS not in layout.roles:
        return []
    found = _at(layout.depth + layout.roles.index(CLASS) + 1, candidates, folders, layout)
    return ["/".join(path) for path in found if _is_usual(path, layout)]


def split_folders(candidates: Iterable[str], folders: Iterable[str], layout: Layout) -> list[str]:
    """Return, sorted, the candidates that would be splits if they contained images; see `class_folders`.

    >>> split_folders(["test", "notes", "train/void"], ["train/cat", "val/cat"], Layout(0, ("split", "class")))
    ['test']
    """
    if not layout.has_splits:
        return []
    found = _at(layout.depth + layout.roles.index(SPLIT) + 1, candidates, folders, layout)
    return ["/".join(path) for path in found if _is_usual(path, layout)]


def _is_usual(path: Sequence[str], layout: Layout) -> bool:
    """Return whether the path's folder at the level of the splits, if it reaches that level, has the name of a split."""
    at = layout.depth + layout.roles.index(SPLIT) if layout.has_splits else len(path)
    return at >= len(path) or is_split(path[at]) or split_in(path[at]) is not None


def _at(level: int, candidates: Iterable[str], folders: Iterable[str], layout: Layout) -> list[list[str]]:
    """Return, sorted, the parts of the candidates at a level, inside the same wrapper folders as folders with images at that level."""
    above = {tuple(path[: layout.depth]) for folder in folders if folder and len(path := folder.split("/")) >= level}
    return sorted(path for folder in candidates if len(path := folder.split("/")) == level and tuple(path[: layout.depth]) in above)
