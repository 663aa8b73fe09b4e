"""Croissant metadata (MLCommons, format 1.0): JSON-LD record sets of images, splits and classes, with the figures of the audit."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from audit.exports.base import write_json_file

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from audit.run.run import Run

ENDINGS = (".json", ".jsonld")

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def write(run: Run, actions: pd.DataFrame, out: Path) -> dict[str, Any]:
    """Write the metadata; images are referenced at their present location, not copied."""
    counts = run.record["counts"]
    source = run.record["source"]
    index = run.findings_index
    by_check = {str(check): int(number) for check, number in index["check"].value_counts().sort_index().items()}
    done = {str(action): int(number) for action, number in actions["action"].value_counts().sort_index().items()}
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", PurePath(str(source["location"])).stem).strip("-") or "dataset"
    classes, splits = run.classes, sorted(run.columns("split")["split"].dropna().unique())
    content = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": name,
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "description": f"{counts['listed']} images audited by imagenet-audit {run.record.get('version', '')}".strip(),
        "distribution": [
            {"@type": "cr:FileObject", "@id": "images", "name": "images", "contentUrl": str(source["location"]), "encodingFormat": "inode/directory"}
            # A file object must have a hash, but a folder has none; the examples of the standard write this URL instead.
            | {"sha256": "https://github.com/mlcommons/croissant/issues/80"},
            {"@type": "cr:FileSet", "@id": "image-files", "name": "image-files", "containedIn": {"@id": "images"}}
            | {"encodingFormat": "image/*", "includes": "**/*"},
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "images-of-classes",
                "name": "images-of-classes",
                "field": [_field("path", "sc:Text", "fullpath"), _field("image", "sc:ImageObject", "content")],
            },
            _values("splits", splits),
            _values("classes", classes),
        ],
        "rai:dataQualityAudit": {
            "tool": "imagenet-audit",
            "version": run.record.get("version", ""),
            "listed": counts["listed"],
            "scanned": counts["scanned"],
            "failed": counts["failed"],
            "findings": len(index),
            "findingsByCheck": by_check,
            "decidedImages": done,
        },
    }
    write_json_file(content, out)
    return {"images": counts["listed"], "findings": len(index)}


def _field(name: str, kind: str, file_property: str) -> dict[str, Any]:
    own = f"images-of-classes/{name}"
    source = {"fileSet": {"@id": "image-files"}, "extract": {"fileProperty": file_property}}
    return {"@type": "cr:Field", "@id": own, "name": own, "dataType": kind, "source": source}


def _values(name: str, values: list[str]) -> dict[str, Any]:
    own = f"{name}/name"
    field = {"@type": "cr:Field", "@id": own, "name": own, "dataType": "sc:Text"}
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "key": {"@id": own}, "field": [field], "data": [{own: value} for value in values]}
