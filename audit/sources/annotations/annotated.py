"""A tree of images whose labels are those of their annotated objects."""

from __future__ import annotations

from dataclasses import replace

from audit.sources.annotations.detection import FORMATS
from audit.sources.annotations.label_files import Labels
from audit.sources.annotations.layout import CLASS, SKIPPED, Layout
from audit.sources.annotations.tree import Files, Tree, TreeSource
from audit.sources.base import SourceOptions


class AnnotatedSource(TreeSource):
    """Images with annotations of a format of `FORMATS`, which is the kind."""

    def __init__(self, kind: str, location: str, tree: Tree, options: SourceOptions) -> None:
        super().__init__(kind, location, tree, options, kept=FORMATS[kind].endings)

    def _layout(self, files: Files) -> Layout:
        layout = super()._layout(files)
        return replace(layout, roles=tuple(SKIPPED if role == CLASS else role for role in layout.roles), readings=())

    def _label_files(self, files: Files, layout: Layout) -> list[Labels]:  # noqa: ARG002
        return FORMATS[self.kind].read(files.kept, lambda path: self._tree.read(files.kept[path]), files.folders, self.location)
