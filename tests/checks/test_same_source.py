import numpy as np
import pandas as pd
import pytest

from audit.checks.same_source import Options, large_sources
from audit.errors import ConfigError

SESSION = {"camera": "ACME 1", "day_code": 7}
WEB = {"camera": None, "day_code": None}


@pytest.fixture
def found(run_named, samples_of):
    def run(rows, options=None, **tables):
        return run_named("same_source", options, samples=samples_of(rows), class_words={"n1": "tench"}, **tables)

    return run


def images(count, label, **more):
    return [{"label": label, "encoder": f"quality {90 + at % 5}", "width": 400 + at % 7, **WEB, **more} for at in range(count)]


def test_reports_session_with_its_splits(found):
    frames = [{"label": "n1", **SESSION, "width": 300 + at, "split": "val" if at < 4 else "train"} for at in range(20)]
    result = found([*images(30, "n1"), *frames, *images(50, "dog")])
    (finding,) = result.findings
    assert (finding.kind, finding.label, finding.score) == ("same_source", "n1", pytest.approx(0.4))
    assert finding.evidence["source"] == {"camera": "camera 'ACME 1'", "day": "one day or a few"}
    assert finding.evidence["splits"] == {"train": 16, "val": 4}
    assert "'n1' (tench) (20 distinct images)" in finding.message
    assert "Keep it in one split (it is in train and val)" in finding.message
    assert result.scores[30:50].tolist() == pytest.approx([0.4] * 20)
    assert not result.scores[np.r_[:30, 50:100]].any()


def test_size_and_encoding_are_a_source(found):
    scraped = images(30, "cat", encoder="table 0a1b2c3d", width=640, height=360)
    (finding,) = found([*scraped, *images(60, "cat"), *images(60, "dog")]).findings
    assert finding.evidence["source"] == {"size": "640 x 360 pixels", "encoder": "JPEG of table 0a1b2c3d"}


def test_rotated_camera_is_one_source(found):
    scraped = images(8, "cat", encoder="own", width=640, height=360) + images(8, "cat", encoder="own", width=360, height=640)
    assert found([*scraped, *images(40, "cat"), *images(60, "dog")]).findings[0].evidence["images"] == 16


def test_ignores_source_of_all_classes(found):
    rows = [{"label": label, "encoder": "quality 95", "camera": "ACME 1", "day_code": 3} for label in ("cat", "dog") for _ in range(40)]
    assert found(rows).findings == []


def test_counts_copies_once(found, pairs_of):
    frames = [{"label": "cat", **SESSION} for _ in range(20)]
    rows = [*frames, *images(30, "cat"), *images(50, "dog")]
    copies = pairs_of([(0, at, "re_encoded", 1.0, 0) for at in range(1, 12)])
    assert found(rows).findings
    assert not found(rows, pairs=copies).findings
    (few,) = found(rows, {"fewest": 9}, pairs=copies).findings
    assert (few.evidence["images"], few.evidence["pictures"]) == (20, 9)


def test_sources_of_a_class_are_one_finding(found):
    first, second = ([{"label": "cat", "camera": "ACME 1", "day_code": day} for _ in range(count)] for day, count in ((1, 15), (2, 25)))
    (finding,) = found([*first, *second, *images(50, "dog")]).findings
    assert (finding.evidence["pictures"], finding.evidence["further"][0]["pictures"]) == (25, 15)
    assert "other sources: 1" in finding.message


def test_day_or_size_alone_is_not_a_source(found):
    alone = [{"label": "cat", "encoder": None, "width": 640 + at, "height": 1000 + at} for at in range(30)]
    assert "camera, day and JPEG encoding are unknown" in found([*alone, *({**row, "label": "dog"} for row in alone)]).reason


def test_is_skipped_for_one_class(found):
    assert "fewer than two classes" in found(images(10, "cat")).reason


def test_rarely_reports_chance():
    reported = 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        table = pd.DataFrame({"label": random.permutation(np.repeat(list("abcd"), 100)), "source": random.integers(0, 20, 400)})
        reported += not large_sources(table, Options(least_share=0.05, fewest=2, factor=1.2)).empty
    assert reported <= 10


def test_tiny_sources_add_no_false_findings():
    """Ten sources with a twentieth of all images each; every other source has one image."""
    reported = 0
    for seed in range(4):
        random = np.random.default_rng(seed)
        source = np.where(random.random(50_000) < 0.6, random.integers(0, 10, 50_000), np.arange(50_000) + 1000)
        table = pd.DataFrame({"label": np.repeat(np.arange(1000), 50).astype(str), "source": source})
        reported += len(large_sources(table, Options()))
        planted = table.assign(source=np.where(np.arange(50_000) < 15, 10**6, source))
        assert 10**6 in large_sources(planted, Options())["source"].tolist()
    assert reported <= 1  # at most one dataset in twenty may have a finding; before, seven findings per dataset were usual


def test_order_of_rows_does_not_matter(found):
    scraped = images(12, "cat", encoder="own", width=640, height=360) + images(12, "cat", encoder="own", width=360, height=640)
    rows = [{**row, "sample_id": f"{at:03}.jpg"} for at, row in enumerate([*scraped, *images(40, "cat"), *images(60, "dog")])]
    (finding,), (again,) = found(rows).findings, found(rows[::-1]).findings
    assert (finding.message, finding.evidence) == (again.message, again.evidence)


def sessions(classes, own, each=20):
    """Return classes, the first of which have a camera each, with growing shares."""
    rows = []
    for of in range(classes):
        shot = each // 2 + of % 5 if of < own else 0
        rows += [
            {"label": f"class {of:02}", "camera": f"ACME {of}", "day_code": 7, "split": "val" if at == 0 and of == 0 else "train"}
            for at in range(shot)
        ]
        rows += images(each - shot, f"class {of:02}")
    return [{**row, "sample_id": f"{at:04}.jpg"} for at, row in enumerate(rows)]


def test_sources_of_most_classes_are_one_finding(found):
    rows = sessions(40, 30)
    result = found(rows)
    (finding,) = result.findings
    assert (finding.kind, finding.label, finding.score) == ("same_source", None, pytest.approx(0.75))
    evidence = finding.evidence
    assert (evidence["classes_given_away"], evidence["classes_judged"], evidence["classes_in_several_splits"]) == (30, 40, 1)
    assert evidence["example_classes"] == [f"class {of:02}" for of in (4, 9, 14, 19, 24)]
    assert evidence["largest_sources"][0]["source"] == {"camera": "camera 'ACME 4'", "day": "one day or a few"}
    assert evidence["largest_sources"][0]["share_of_class"] == pytest.approx(0.7)
    label_of = {row["sample_id"]: row["label"] for row in rows}
    assert [label_of[name] for name in evidence["examples"]] == evidence["example_classes"]
    assert evidence["images"] == (result.scores > 0).sum() == 30 * 12
    assert "30 of 40 classes each have a large source that other classes hardly have, such as 70% of 'class 04' (camera 'ACME 4'" in finding.message
    assert "keep each source in one split (now in several: 1 class)" in finding.message
    backwards = found(rows[::-1]).findings[0]
    assert (backwards.message, backwards.evidence) == (finding.message, finding.evidence)


def test_sources_of_few_classes_are_separate_findings(found):
    assert [finding.label for finding in found(sessions(40, 19)).findings] == [f"class {of:02}" for of in range(19)]


@pytest.mark.parametrize("options", [{"least_share": 0}, {"fewest": 1}, {"factor": 0.5}, {"false_discoveries": 1.0}])
def test_refuses_options_out_of_range(found, options):
    with pytest.raises(ConfigError):
        found(images(2, "cat"), options)
