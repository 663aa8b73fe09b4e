"""Whatever a file says of people and places, no output says it: a secret is planted in every field, and every output is searched for it."""

import base64
import contextlib
import io
import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from audit import open_run
from audit.cli import invoke

GPS = b"987654"


def _endings(case):
    return {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "TIFF": "tif", "GIF": "gif"}[case.container.split()[0]]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return tmp_path_factory.mktemp("leaks")


@pytest.fixture
def scanned(world, cases, secret):
    """A folder with every fixture, a manifest with personal columns, and its run."""
    data, run = world / "data", world / "run"
    if run.exists():
        return run
    random = np.random.default_rng(5)
    lines = ["path,label,split,owner,gps_latitude,camera"]
    for number, case in enumerate(cases):
        path = data / ("cat" if number % 2 else "dog") / f"{number}.{_endings(case)}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(case.data)
        cat = number % 2 and random.random() < 0.9
        lines.append(f"{path.relative_to(data)},{path.parent.name},train,{secret if cat else 'nobody'},{52.987654 if cat else 1.5},ACME")
    (data / "images.csv").write_text("\n".join(lines) + "\n")
    assert (
        invoke(["scan", str(data / "images.csv"), "--out", str(run), "--backbone", "embedded", "--device", "cpu", "--workers", "1", "--quiet"]) == 0
    )
    return run


def _texts(path):
    """Yield what a file holds: as bytes, as the rows of a table, and as the pictures inside a page."""
    content = path.read_bytes()
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        kept = table.drop_columns([name for name in ("metadata",) if name in table.column_names])  # the user's own columns
        yield json.dumps(kept.to_pylist(), default=str, ensure_ascii=False).encode()
        if kept.num_columns == table.num_columns:
            yield content
        return
    yield content
    for picture in re.findall(rb"data:image/[a-z]+;base64,([A-Za-z0-9+/=]+)", content):
        yield base64.b64decode(picture)


def _holds(content, secret):
    return any(
        sought in content for sought in (secret.encode(), secret.encode("utf-16-le"), secret.encode("utf-16-be"), secret.encode().hex().encode(), GPS)
    )


def test_the_search_would_find_a_leak(scanned, secret, cases):
    assert sum(_holds(case.data, secret) for case in cases) > 0.7 * len(cases)
    samples = pq.read_table(scanned / "samples.parquet", columns=["exif_families"]).to_pylist()
    found = {entry.partition("/")[0] for row in samples for entry in row["exif_families"] or ()}
    assert found == {case.family for case in cases}
    shortcuts = {finding["kind"] for finding in open_run(scanned).findings.to_dict("records") if finding["check"] == "shortcuts"}
    assert {"property_column_owner", "property_column_gps_latitude"} <= shortcuts


def test_no_output_holds_a_value(scanned, world, secret, capsys):
    out = world / "out"
    out.mkdir(exist_ok=True)
    some = pq.read_table(scanned / "samples.parquet", columns=["sample_id"])["sample_id"].to_pylist()
    findings = open_run(scanned).findings["finding_id"].tolist()
    run = str(scanned)
    commands = [["report", run, "--out", str(out / f"report.{ending}")] for ending in ("html", "md", "json", "csv", "txt")]
    commands += [["report", run, "--format", "dataset_card", "--out", str(out / "card.md")]]
    commands += [["explain", run, name, *more] for name in some[:12] for more in ([], ["--json"])]
    commands += [["report", run, "--format", form, "--out", "-"] for form in ("text", "json")]
    policy = out / "policy.toml"
    policy.write_text("[limits]\nprivacy = 0\n")
    verdicts = [part for form in ("junit", "sarif", "markdown", "github", "gitlab") for part in ("--report", f"{form}={out / form}.txt")]
    commands += [["check", run, "--policy", str(policy), *verdicts], ["check", run, "--policy", str(policy), "--json"]]
    commands += [["decisions", run, "--sheet", str(out / "sheet.csv"), "--limit", "500"], ["decisions", run, "--json"]]
    kinds = {
        "cleaned-manifest": ".csv",
        "corrected-labels": ".csv",
        "drop-list": ".jsonl",
        "croissant": ".json",
        "label-studio": ".json",
        "fiftyone": "",
    }
    commands += [["export", run, "--what", what, "--out", str(out / f"{what}{ending}")] for what, ending in kinds.items()]
    ended = {" ".join(command): invoke(command) for command in commands}
    assert set(ended.values()) <= {0, 1}, ended
    told = capsys.readouterr()
    assert findings
    assert len(told.out) > 1000
    assert not _holds(told.out.encode() + told.err.encode(), secret)
    written = [path for place in (scanned, out) for path in place.rglob("*") if path.is_file()]
    leaks = {path.name for path in written for text in _texts(path) if _holds(text, secret)}
    assert leaks == set()


def test_pictures_shown_hold_no_metadata(scanned):
    from audit.previews import previews

    pictures = [picture for picture in previews(open_run(scanned), range(len(open_run(scanned).samples))) if picture]
    assert len(pictures) > 100
    for picture in pictures:
        image = Image.open(io.BytesIO(picture))
        with contextlib.suppress(AttributeError):
            assert not [name for name, _ in image.applist if name not in {"APP0", "APP14"}]
        assert not {"exif", "xmp", "comment", "photoshop"} & set(image.info)
