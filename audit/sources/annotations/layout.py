"""Detect which folders of a dataset are splits, classes or wrappers. Pure functions over relative paths."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

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


def is_split(name: str) -> bool:
    """Return whether a folder has the name of a split."""
    return name.lower() in SPLIT_NAMES


def usual_split(name: str) -> str | None:
    """Return the canonical name of a split with several usual names; None for any other name.

    >>> usual_split("Validation"), usual_split("val"), usual_split("north")
    ('val', 'val', None)
    """
    return next((names[0] for names in _ONE_SPLIT if name.lower() in names), None)


@dataclass(frozen=True, slots=True)
class Layout:
    """How to read a dataset's folders."""

    depth: int
    """Number of leading wrapper folders: 1 in ``tiny-imagenet-dev/train/n01443537/0.JPEG``."""
    has_splits: bool
    """Whether the first folder below the wrappers is the split."""

    def read(self, path: str) -> tuple[str, str | None, str | None]:
        """Return a relative path without its wrapper folders, its split and its label.

        The label is the first folder below the split; deeper folders are not part of it.
        """
        parts = path.split("/")[self.depth :]
        folders = parts[:-1]
        split = folders.pop(0) if self.has_splits and folders else None
        return "/".join(parts), split, folders[0] if folders else None


def detect_layout(folders: Iterable[str]) -> Layout:
    """Return the layout of a dataset from the folders that hold images.

    Args:
        folders: relative paths, '/' separated, of every folder that directly contains an image; ``""`` is the root.

    Top folders are splits only if all of them have a split name. A single top folder that is not a split is a wrapper if every image is in a deeper
    folder, so that at least a class remains.

    >>> detect_layout(["photos/train/cat", "photos/val/cat"])
    Layout(depth=1, has_splits=True)
    >>> detect_layout(["train", "plane"])
    Layout(depth=0, has_splits=False)
    """
    paths = [tuple(folder.split("/")) if folder else () for folder in set(folders)]
    depth = 0
    while True:
        below = [path[depth:] for path in paths]
        tops = {path[0] for path in below if path}
        if tops and all(is_split(top) for top in tops):
            return Layout(depth, has_splits=True)
        if len(tops) != 1 or any(len(path) < 2 for path in below):
            return Layout(depth, has_splits=False)
        depth += 1


def mistaken_splits(folders: Iterable[str], layout: Layout) -> tuple[list[str], list[str]]:
    """Return top folders that are read as classes although they look like splits, and their siblings that do not; empty if it may be intended.

    A class may have the name of a split (``train`` next to ``plane``). Two such classes are unlikely, as is one whose images are all in subfolders.

    >>> mistaken_splits(["train/cat", "val/cat", "val2/cat"], Layout(0, has_splits=False))
    (['train', 'val'], ['val2'])
    >>> mistaken_splits(["train", "plane"], Layout(0, has_splits=False))
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

    >>> class_folders(["train/void", "notes/old", "test"], ["train/cat", "val/cat"], Layout(0, has_splits=True))
    ['train/void']
    """
    found = _at(layout.depth + layout.has_splits + 1, candidates, folders, layout)
    return ["/".join(path) for path in found if not layout.has_splits or is_split(path[layout.depth])]


def split_folders(candidates: Iterable[str], folders: Iterable[str], layout: Layout) -> list[str]:
    """Return, sorted, the candidates that would be splits if they contained images; see `class_folders`.

    >>> split_folders(["test", "notes", "train/void"], ["train/cat", "val/cat"], Layout(0, has_splits=True))
    ['test']
    """
    if not layout.has_splits:
        return []
    return ["/".join(path) for path in _at(layout.depth + 1, candidates, folders, layout) if is_split(path[layout.depth])]


def _at(level: int, candidates: Iterable[str], folders: Iterable[str], layout: Layout) -> list[list[str]]:
    """Return, sorted, the parts of the candidates at a level, inside the same wrapper folders as folders with images at that level."""
    above = {tuple(path[: layout.depth]) for folder in folders if folder and len(path := folder.split("/")) >= level}
    return sorted(path for folder in candidates if len(path := folder.split("/")) == level and tuple(path[: layout.depth]) in above)
