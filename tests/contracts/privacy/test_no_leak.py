"""No output contains personal metadata: a secret is planted in every field, and every output is searched for it."""

import base64
import contextlib
import io
import json
import pkgutil
import re

import click
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

import dashboard.views
from audit import open_run
from audit.cli import invoke
from audit.commands import Commands
from audit.exports import exports
from dashboard.api import content as panel
from dashboard.api import pictures
from dashboard.api.desk import Desk

GPS = b"987654"


def _endings(case):
    return {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "TIFF": "tif", "GIF": "gif", "AVIF": "avif"}[case.container.split()[0]]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return tmp_path_factory.mktemp("leaks")


def _plain(seed):
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def scanned(world, cases, secret):
    """The run of a folder with every fixture and a manifest with personal columns."""
    data, run = world / "data", world / "run"
    if run.exists():
        return run
    random = np.random.default_rng(5)
    files = [(_endings(case), case.data) for case in cases]
    files += [("png", _plain(seed)) for seed in range(80)]  # distinct images: copies of the fixtures count once
    lines = ["path,label,split,owner,gps_latitude,camera"]
    for number, (ending, content) in enumerate(files):
        path = data / ("cat" if number % 2 else "dog") / f"{number}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        cat = number % 2 and random.random() < 0.9
        split, owner, latitude = "train" if number % 4 else "val", secret if cat else "nobody", 52.987654 if cat else 1.5
        lines.append(f"{path.relative_to(data)},{path.parent.name},{split},{owner},{latitude},ACME")
    (data / "images.csv").write_text("\n".join(lines) + "\n")
    assert (
        invoke(["scan", str(data / "images.csv"), "--out", str(run), "--backbone", "embedded-small", "--device", "cpu", "--workers", "1", "--quiet"])
        == 0
    )
    return run


def _texts(path):
    """Yield a file's content: its bytes, the rows of a table, and the images embedded in a page."""
    content = path.read_bytes()
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        kept = table.drop_columns([name for name in ("metadata",) if name in table.column_names])  # the user's own columns
        yield json.dumps(kept.to_pylist(), default=str, ensure_ascii=False).encode()
        if kept.num_columns == table.num_columns:
            yield content
        return
    yield content
    for image in re.findall(rb"data:image/[a-z]+;base64,([A-Za-z0-9+/=]+)", content):
        yield base64.b64decode(image)


def _holds(content, secret):
    return any(
        sought in content for sought in (secret.encode(), secret.encode("utf-16-le"), secret.encode("utf-16-be"), secret.encode().hex().encode(), GPS)
    )


def test_search_detects_leaks(scanned, secret, cases):
    assert sum(_holds(case.data, secret) for case in cases) > 0.7 * len(cases)
    samples = pq.read_table(scanned / "samples.parquet", columns=["exif_families"]).to_pylist()
    found = {entry.partition("/")[0] for row in samples for entry in row["exif_families"] or ()}
    assert found == {case.family for case in cases}
    shortcuts = {finding["kind"] for finding in open_run(scanned).findings.to_dict("records") if finding["check"] == "shortcuts"}
    assert {"property_column_owner", "property_column_gps_latitude"} <= shortcuts


SEARCHED_ELSEWHERE = {
    "scan": "writes the run itself, which every search below includes",
    "dashboard": "test_no_dashboard_page_contains_a_value",
    "demo": "audits its own photographs",
    "checks": "reads no dataset",
    "models": "reads no dataset",
    "init": "writes a policy, not a dataset's values",
}


@pytest.fixture
def commands(scanned, out):
    """Every command and every kind of export, with its arguments."""
    run = str(scanned)
    samples = pq.read_table(scanned / "samples.parquet", columns=["sample_id"])["sample_id"].to_pylist()
    policy, predictions = out / "policy.toml", out / "model.npy"
    policy.write_text("[limits]\nprivacy = 0\n")
    np.save(predictions, np.random.default_rng(1).dirichlet((1, 1), len(samples)).astype(np.float32))
    listed = [["report", run, "--out", str(out / f"report.{ending}")] for ending in ("html", "md", "json", "csv", "txt")]
    listed += [["report", run, "--format", "dataset_card", "--out", str(out / "card.md")]]
    listed += [["report", run, "--format", form, "--out", "-"] for form in ("text", "json")]
    listed += [["explain", run, name, *more] for name in samples[:12] for more in ([], ["--json"])]
    listed += [["explain", run, samples[0], "--saliency", str(out / "saliency.png")]]
    verdicts = [part for form in ("junit", "sarif", "markdown", "github", "gitlab") for part in ("--report", f"{form}={out / form}.txt")]
    listed += [["check", run, "--policy", str(policy), *verdicts], ["check", run, "--policy", str(policy), "--json"]]
    listed += [["check", run, "--policy", str(policy), "--baseline", str(out / "report.json")]]
    listed += [["decisions", run, "--sheet", str(out / "sheet.csv"), "--limit", "500"], ["decisions", run, "--json"]]
    listed += [["export", run, "--what", what, "--out", str(out / f"{what}{known.endings[0]}")] for what, known in exports().items()]
    listed += [["diff", run, run, *more] for more in ([], ["--json"])]
    listed += [["inspect", str(scanned.parent / "data" / "images.csv"), *more] for more in ([], ["--json"])]
    listed += [["lock", run, "--out", str(out / "data.lock")]]
    listed += [["verify", run, "--dataset", "cifar-10", *more] for more in ([], ["--json"])]
    listed += [["benchmark", run, "--predictions", str(predictions), *more] for more in ([], ["--json"])]
    return listed


@pytest.fixture
def out(world):
    folder = world / "out"
    folder.mkdir(exist_ok=True)
    return folder


def test_every_command_is_searched(commands):
    assert {command[0] for command in commands} | set(SEARCHED_ELSEWHERE) == set(Commands().list_commands(click.Context(Commands())))


def test_no_output_contains_a_value(scanned, out, commands, secret, capsys):
    ended = {" ".join(command): invoke(command) for command in commands}
    printed = capsys.readouterr()
    assert {command: code for command, code in ended.items() if code not in {0, 1}} == {}, printed.err
    assert len(printed.out) > 1000
    assert not _holds(printed.out.encode() + printed.err.encode(), secret)
    written = [path for folder in (scanned, out) for path in folder.rglob("*") if path.is_file()]
    leaks = {path.name for path in written for text in _texts(path) if _holds(text, secret)}
    assert leaks == set()


VIEWS = ["overview", "label_errors", "confusion", "duplicates", "quality", "bias", "images", "decisions", "map", "search", "compare"]


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.filterwarnings("ignore")
def test_no_dashboard_page_contains_a_value(scanned, secret, view):
    def page(path, name):
        from importlib import import_module

        from audit import open_run

        import_module(f"dashboard.views.{name}").show(open_run(path))

    test = AppTest.from_function(page, args=(str(scanned), view), default_timeout=60).run()
    assert not test.exception
    drawn = [element.proto.SerializeToString() for element in _elements(test._tree) if getattr(element, "proto", None) is not None]
    assert len(b"".join(drawn)) > 20
    assert not any(_holds(content, secret) for content in drawn)


def test_no_card_contains_a_value(scanned, secret):
    run = open_run(scanned)
    ids = run.findings_index.groupby(["check", "kind"], observed=True)["finding_id"].first().tolist()
    ids += [f"row:{row}" for row in range(0, len(run), 7)]
    for described in (panel.cards, panel.tiles):
        shown = described(Desk(run), ids)
        assert len(shown) == len(ids)
        assert not _holds(json.dumps(shown, ensure_ascii=False).encode(), secret)


def _elements(node):
    for child in getattr(node, "children", {}).values():
        yield child
        yield from _elements(child)


def test_every_dashboard_page_is_searched():
    (marked,) = (mark for mark in test_no_dashboard_page_contains_a_value.pytestmark if mark.name == "parametrize")
    assert set(marked.args[1]) == {found.name for found in pkgutil.iter_modules(dashboard.views.__path__)}


def test_large_images_contain_no_value(scanned, secret):
    run = open_run(scanned)
    shown = [pictures.large(run, row) for row in range(len(run.samples))]
    assert sum(picture is not None for picture in shown) > 100
    assert not any(_holds(picture, secret) for picture in shown if picture)


def test_previews_contain_no_metadata(scanned):
    from audit.images.previews import previews

    shown = [data for data in previews(open_run(scanned), range(len(open_run(scanned).samples))) if data]
    assert len(shown) > 100
    for data in shown:
        image = Image.open(io.BytesIO(data))
        with contextlib.suppress(AttributeError):
            assert not [name for name, _ in image.applist if name not in {"APP0", "APP14"}]
        assert not {"exif", "xmp", "comment", "photoshop"} & set(image.info)
