"""Copies of the images without metadata, under their own names in another folder. The dataset itself is never touched."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from audit.errors import AuditError
from audit.metadata_removal import Refused, without_metadata

if TYPE_CHECKING:
    import pandas as pd

    from audit.run import Run

ENDINGS = ("",)


def write(run: Run, actions: pd.DataFrame, out: Path) -> dict[str, Any]:
    """Write a copy of every image that could be read, whatever was decided of it, to ``out/sample_id``.

    Images of which no lossless copy can be made are left out and listed, each with its reason, in ``<out>-refused.csv`` beside the folder.
    """
    del actions
    from audit.exports.table import write_frame

    source = run.source()
    _refuse_unsafe(run, source.location, out)
    samples = run.columns("sample_id", "source_ref", "outcome", "error")
    out.mkdir(exist_ok=True)
    copied, before, after = 0, 0, 0
    refused: list[tuple[str, str]] = []
    for sample_id, source_ref, outcome, error in samples.itertuples(index=False):
        if outcome != "ok":
            refused.append((sample_id, f"{outcome}: {error}" if error else outcome))
            continue
        try:
            data = source.read(source_ref)
            clean = without_metadata(data)
            _write_new(out, sample_id, clean)
        except (Refused, OSError) as reason:
            refused.append((sample_id, " ".join(str(reason).split())))
            continue
        copied, before, after = copied + 1, before + len(data), after + len(clean)
    if refused:
        import pandas as pd

        write_frame(pd.DataFrame(refused, columns=["sample_id", "reason"]), refusals(out))
    return {"images": copied, "refused": len(refused), "bytes_removed": before - after}


def refusals(out: Path) -> Path:
    """Return the file that lists what was left out of a folder, and why."""
    return out.with_name(f"{out.name}-refused.csv")


def _refuse_unsafe(run: Run, location: str, out: Path) -> None:
    if (out.exists() and any(out.iterdir())) or refusals(out).exists():
        raise AuditError(
            out, "is not empty" if out.exists() else f"has a list of refused images beside it, {refusals(out).name}", "name a new folder"
        )
    whole = out.resolve()
    for place, what in ((Path(location), "the dataset"), (run.path, "the run")):
        if place.exists() and place.is_dir() and (whole == place.resolve() or place.resolve() in whole.parents):
            raise AuditError(out, f"lies inside {what}", "name a folder elsewhere")


def _write_new(out: Path, sample_id: str, data: bytes) -> None:
    """Write one copy; a name from an archive may not lead out of the folder, and never replaces another copy."""
    parts = PurePosixPath(sample_id).parts
    if not parts or sample_id.startswith("/") or ".." in parts:
        raise Refused("has a name that leads out of the folder")
    place = out.joinpath(*parts)
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("xb") as file:
        file.write(data)
