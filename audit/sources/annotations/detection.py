"""Annotations of objects, read as labels of images: COCO, Pascal VOC and YOLO. An image has the labels of all its objects."""

from __future__ import annotations

import html
import json
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from audit.errors import SourceError
from audit.io.console import counted
from audit.sources.annotations.label_files import Box, Found, Labels
from audit.sources.annotations.layout import split_in, split_word
from audit.sources.storage.problems import Problem, Tally

Read = Callable[[str], bytes]
"""Returns the bytes of a file of the tree by its path. Raises OSError."""

_FLOAT = re.compile(r"-?\d*\.?\d+(?:[eE][+-]?\d+)?")
_NAMES_LINE = re.compile(r"^names:[ \t]*(?P<inline>.*)$", re.MULTILINE)


class Format(NamedTuple):
    """A format of annotations."""

    endings: tuple[str, ...]
    """Endings of its files."""
    read: Callable[[Collection[str], Read, Collection[str], str], list[Labels]]
    """Returns the labels, given the paths of the files, the function that reads them, the folders with images, and the dataset for messages."""


def _found(boxes: Iterable[Box], split: str | None = None) -> Found:
    every = tuple(boxes)
    unique = tuple(sorted({box.label for box in every}))
    return Found(unique[0] if len(unique) == 1 else None, split, unique if len(unique) > 1 else None, every)


def read_coco(paths: Collection[str], read: Read, folders: Collection[str], dataset: str) -> list[Labels]:
    """Read COCO's files of instances (https://cocodataset.org/#format-data). Raises SourceError if there is none."""
    files = []
    for path in sorted(paths):
        try:
            content = json.loads(read(path))
        except (OSError, ValueError):
            continue
        if not isinstance(content, dict) or not {"images", "annotations", "categories"} <= content.keys():
            continue
        try:
            categories = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
            sizes = {entry["id"]: (float(entry.get("width", 0)), float(entry.get("height", 0))) for entry in content["images"]}
            of_image: dict[object, list[Box]] = defaultdict(list)
            for entry in content["annotations"]:
                label = categories.get(entry["category_id"], str(entry["category_id"]))
                left, top, width, height = (float(part) for part in entry.get("bbox", (0, 0, 0, 0)))
                size = sizes.get(entry["image_id"], (0.0, 0.0))
                box = Box(label, left, top, left + width, top + height, relative=False, size=size if min(size) > 0 else None)
                of_image[entry["image_id"]].append(box)
            split = split_word(path.rpartition("/")[2].partition(".")[0])
            labels = {str(entry["file_name"]): _found(of_image[entry["id"]]) for entry in content["images"]}
        except (KeyError, TypeError, ValueError) as error:
            raise SourceError(f"{dataset}/{path}", f"is not in COCO's format: {error!r} is missing or of another type", "repair it") from error
        files.append(Labels(f"{dataset}/{path}", labels, base=_folder_of(path, split, folders), overrides=True))
    if not files:
        raise SourceError(dataset, "contains no annotations in COCO's format", "pass the folder that has both images and annotations")
    return files


def _folder_of(path: str, split: str | None, folders: Collection[str]) -> str | None:
    """Return the folder with the images of a file: its own, else the one of its split; None for all folders."""
    own = path.rpartition("/")[0]
    if own and any((folder + "/").startswith(own + "/") for folder in folders):
        return own
    of_split = [folder for folder in folders if split is not None and split_in(folder.rpartition("/")[2]) == split_in(split)]
    return of_split[0] if len(of_split) == 1 else None


def read_voc(paths: Collection[str], read: Read, folders: Collection[str], dataset: str) -> list[Labels]:
    """Read Pascal VOC's XML files and the lists of its splits. Raises SourceError if there is none."""
    splits: dict[str, str] = {}
    for path in sorted(paths):
        name = path.rpartition("/")[2].removesuffix(".txt")
        if path.endswith(".txt") and "ImageSets" in path and name in ("train", "val", "test"):
            splits |= {line.split()[0]: name for line in read(path).decode("utf-8", "replace").splitlines() if line.strip()}
    labels: dict[str, Found] = {}
    for path in sorted(path for path in paths if path.endswith(".xml")):
        boxes = list(_voc_boxes(read(path).decode("utf-8", "replace")))
        stem = path.rpartition("/")[2].removesuffix(".xml")
        for key in _keys(path, stem, folders, "Annotations", "JPEGImages"):
            labels[key] = _found(boxes, splits.get(stem))
    if not labels:
        raise SourceError(dataset, "contains no XML files of Pascal VOC", "pass the folder that has both images and annotations")
    return [Labels(f"{dataset}: its .xml files", labels, overrides=True)]


def _voc_boxes(text: str) -> Iterator[Box]:
    size = tuple(_number(text, name) for name in ("width", "height"))
    for part in text.split("<object>")[1:]:
        content, closed, _ = part.partition("</object>")
        _, named, rest = content.partition("<name>")  # parts of objects have names as well; the first is that of the object
        if not closed or not named:
            continue
        box = content[content.find("<bndbox>") :]
        left, top, right, bottom = (_number(box, name) for name in ("xmin", "ymin", "xmax", "ymax"))
        yield Box(
            html.unescape(rest.partition("</name>")[0].strip()),
            left,
            top,
            right,
            bottom,
            relative=False,
            size=(size[0], size[1]) if min(size) > 0 else None,
        )


def _number(text: str, name: str) -> float:
    """Return the number in the first element of a name; 0 if there is none."""
    found = re.search(rf"<{name}>\s*(-?\d+(?:\.\d+)?)\s*</{name}>", text)
    return float(found[1]) if found else 0.0


def read_yolo(paths: Collection[str], read: Read, folders: Collection[str], dataset: str) -> list[Labels]:
    """Read YOLO's text files, with the class names of ``data.yaml`` or ``classes.txt``. Raises SourceError if there is none."""
    names = _yolo_names({path: read(path) for path in paths if path.endswith((".yaml", ".yml", "classes.txt", ".names"))})
    unknown = Tally()
    labels: dict[str, Found] = {}
    for path in sorted(path for path in paths if path.endswith(".txt")):
        rows = [line.split() for line in read(path).decode("utf-8", "replace").splitlines() if line.strip()]
        if any(len(row) < 5 or not row[0].isdigit() or not all(map(_FLOAT.fullmatch, row[1:])) for row in rows):
            continue
        for number in sorted({row[0] for row in rows} - names.keys()) if names else ():
            unknown.add(number)
        boxes = [_yolo_box(names.get(row[0], row[0]), [float(part) for part in row[1:]]) for row in rows]
        stem = path.rpartition("/")[2].removesuffix(".txt")
        for key in _keys(path, stem, folders, "labels", "images"):
            labels[key] = _found(boxes)
    if not labels:
        raise SourceError(dataset, "contains no annotations of YOLO", "pass the folder that has both images and labels")
    problems = []
    if unknown.count:
        problem = f"{counted(unknown.count, 'class number')} without a name: {unknown}; each is its own class"
        problems.append(
            Problem(kind="unknown_class_numbers", problem=problem, hint="add the names to data.yaml", evidence={"entries": unknown.count})
        )
    return [Labels(f"{dataset}: its .txt files", labels, overrides=True, problems=problems)]


def _yolo_box(label: str, values: list[float]) -> Box:
    """Return a box from center and size, or from the corners of a polygon."""
    if len(values) > 5:
        across, down = values[::2], values[1::2]
        return Box(label, min(across), min(down), max(across), max(down), relative=True)
    x, y, width, height = values[:4]
    return Box(label, x - width / 2, y - height / 2, x + width / 2, y + height / 2, relative=True)


def _keys(path: str, stem: str, folders: Collection[str], annotations: str, images: str) -> list[str]:
    """Return the paths without extension of the image that an annotation is about; its base name if its folder does not say."""
    folder = path.rpartition("/")[0]
    parts = folder.split("/")
    if folder in folders:
        return [f"{folder}/{stem}" if folder else stem]
    for at, part in enumerate(parts):
        if part.lower() == annotations.lower():
            near = [other for other in folders if len(other.split("/")) == len(parts) and _differ_only_at(other.split("/"), parts, at)]
            usual = [other for other in near if other.split("/")[at].lower() == images.lower()]
            if usual or near:
                return [f"{other}/{stem}" for other in usual or near]
    return [stem]


def _differ_only_at(one: list[str], other: list[str], at: int) -> bool:
    return one[:at] == other[:at] and one[at + 1 :] == other[at + 1 :]


def _yolo_names(files: Mapping[str, bytes]) -> dict[str, str]:
    r"""Return the class names by number, as text.

    >>> _yolo_names({"data.yaml": b"nc: 2\nnames: ['cat', dog]\n"}) == _yolo_names({"data.yaml": b"names:\n  0: cat\n  1: dog\n"})
    True
    """
    for path, data in sorted(files.items()):
        text = data.decode("utf-8", "replace")
        if not path.endswith((".yaml", ".yml")):
            return {str(number): line.strip() for number, line in enumerate(text.splitlines()) if line.strip()}
        found = _NAMES_LINE.search(text)
        if found is None:
            continue
        inline = found["inline"].strip()
        rest = text[found.end() :].splitlines()[1:] if not inline else []
        items = inline.strip("[]{}").split(",") if inline else []
        for line in rest:
            if not line.startswith((" ", "-", "\t")):
                break
            items.append(line.strip().removeprefix("- "))
        names = {}
        for number, item in enumerate(items):
            key, colon, value = item.partition(":")
            names[key.strip() if colon and key.strip().isdigit() else str(number)] = (
                (value if colon and key.strip().isdigit() else item).strip().strip("'\"")
            )
        return names
    return {}


FORMATS = {
    "coco": Format((".json",), read_coco),
    "voc": Format((".xml", ".txt"), read_voc),
    "yolo": Format((".txt", ".yaml", ".yml", ".names"), read_yolo),
}
