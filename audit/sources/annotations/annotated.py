"""A tree of images whose labels are those of their annotated objects; or the objects themselves as samples."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from threading import Lock
from typing import Any

from audit.images.decode import DEFAULT_MAX_PIXELS
from audit.io.console import counted
from audit.sources.annotations.detection import FORMATS
from audit.sources.annotations.label_files import Box, Found, Labels
from audit.sources.annotations.layout import CLASS, SKIPPED, Layout
from audit.sources.annotations.tree import Entry, Files, Tree, TreeSource
from audit.sources.base import Sample, SourceOptions
from audit.sources.storage.problems import Problem, Tally

MARGIN = 0.1
"""Share of a box's sides that its crop shows around it, on each side."""

_TINY = 8
"""Pixels; with a shorter side, an object can hardly be judged."""

_OUTSIDE = 0.5
"""Pixels by which a box may exceed its image: rounding."""


class AnnotatedSource(TreeSource):
    """Images with annotations of a format of `FORMATS`, which is the kind; with ``objects``, each box is one sample."""

    def __init__(self, kind: str, location: str, tree: Tree, options: SourceOptions) -> None:
        super().__init__(kind, location, tree, options, kept=FORMATS[kind].endings)
        self._boxes = {kind: Tally() for kind in _BOX_PROBLEMS}
        self._lock = Lock()
        self._held: tuple[str, Any] = ("", None)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_held")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=Lock(), _held=("", None))

    def collect(self) -> Iterator[Sample]:
        """Yield every image; or every object. Raises SourceError if there are no annotations."""
        self._boxes = {kind: Tally() for kind in _BOX_PROBLEMS}
        yield from super().collect()
        for kind, (severity, problem, hint) in _BOX_PROBLEMS.items():
            if count := self._boxes[kind].count:
                text = f"{counted(count, problem.partition(' ')[0])} {problem.partition(' ')[2]}: {self._boxes[kind]}"
                self.problems.append(Problem(kind=kind, severity=severity, problem=text, hint=hint, evidence={"entries": count}))

    def read(self, source_ref: str) -> bytes:
        """Return an image's bytes, or the crop of an object as PNG; of an image that cannot be decoded its bytes, for the decoder to report."""
        if not self.options.objects:
            return super().read(source_ref)
        ref, _, box = source_ref.rpartition("|")
        data = b""
        with self._lock:
            if self._held[0] != ref:
                data = super().read(ref)
                try:
                    self._held = (ref, _opened(data))
                except Exception:  # noqa: BLE001  decoders raise anything on hostile bytes
                    return data
            crop = _crop(self._held[1], Box(*json.loads(box)))
        out = io.BytesIO()
        crop.save(out, "PNG", compress_level=1)
        return out.getvalue()

    def _layout(self, files: Files) -> Layout:
        layout = super()._layout(files)
        return replace(layout, roles=tuple(SKIPPED if role == CLASS else role for role in layout.roles), readings=())

    def _label_files(self, files: Files, layout: Layout) -> list[Labels]:  # noqa: ARG002
        return FORMATS[self.kind].read(files.kept, lambda path: self._tree.read(files.kept[path]), files.folders, self.location)

    def _samples(self, entry: Entry, layout: Layout, label_files: list[Labels]) -> Iterator[Sample]:
        if not self.options.objects:
            yield from super()._samples(entry, layout, label_files)
            return
        placed = layout.read(entry.path)
        found = next((found for labels in label_files if (found := labels.find(entry.path, placed.path)) is not None), None)
        if found is None or not found.boxes:
            self._boxes["no_objects"].add(repr(placed.path))
            return
        seen: set[Box] = set()
        for number, box in enumerate(found.boxes):
            name = f"{placed.path}#{number:03d}"
            if self._is_listed(box, name, seen):
                edges = json.dumps([*box[:5], box.relative])
                columns = {**placed.columns, "image": placed.path}
                of_box = Found(box.label, found.split or placed.split)
                yield self._listed(name, f"{entry.ref}|{edges}", f"{entry.fingerprint}-{edges}", of_box, columns)

    def _is_listed(self, box: Box, name: str, seen: set[Box]) -> bool:
        """Return whether a box becomes a sample; note what is wrong with it."""
        if box.right <= box.left or box.bottom <= box.top:
            self._boxes["empty_boxes"].add(repr(name))
            return False
        if box in seen:
            self._boxes["repeated_boxes"].add(repr(name))
            return False
        seen.add(box)
        width, height = (1.0, 1.0) if box.relative else box.size or (float("inf"), float("inf"))
        slack = 0.01 if box.relative else _OUTSIDE
        if min(width, box.right) <= max(0.0, box.left) or min(height, box.bottom) <= max(0.0, box.top):
            self._boxes["empty_boxes"].add(repr(name))
            return False
        if box.left < -slack or box.top < -slack or box.right > width + slack or box.bottom > height + slack:
            self._boxes["boxes_outside"].add(repr(name))
        if not box.relative and min(box.right - box.left, box.bottom - box.top) < _TINY:
            self._boxes["tiny_boxes"].add(repr(name))
        return True


_BOX_PROBLEMS = {
    "empty_boxes": ("error", "annotation without an area inside the image, not listed", "correct or delete them"),
    "repeated_boxes": ("warning", "annotation listed twice with the same class and edges, used once", "delete the copies"),
    "boxes_outside": ("warning", "annotation beyond the edges of the image, cut there", "correct them"),
    "tiny_boxes": ("info", f"annotation with a side of less than {_TINY} pixels", "check that such objects can be recognised"),
    "no_objects": ("info", "image without objects, not listed", "scan without --objects (objects) to audit the images"),
}
"""Severity, problem with its noun first, and hint, by kind."""


def _opened(data: bytes) -> Any:
    from PIL import Image, ImageOps

    image = Image.open(io.BytesIO(data))
    if image.size[0] * image.size[1] > DEFAULT_MAX_PIXELS:
        raise ValueError("too large")
    return ImageOps.exif_transpose(image).convert("RGB")


def _crop(image: Any, box: Box) -> Any:
    width, height = image.size
    across, down = (width, height) if box.relative else (1, 1)
    left, top, right, bottom = box.left * across, box.top * down, box.right * across, box.bottom * down
    more = (right - left) * MARGIN, (bottom - top) * MARGIN
    left, top = max(int(left - more[0]), 0), max(int(top - more[1]), 0)
    return image.crop(
        (
            min(left, width - 1),
            min(top, height - 1),
            max(min(round(right + more[0]), width), left + 1),
            max(min(round(bottom + more[1]), height), top + 1),
        )
    )
