import json

import numpy as np
import pytest

from audit.checks.base import Skipped
from audit.checks.shortcuts import Options, run
from audit.errors import ConfigError
from audit.tables import PAIRS

NONE = PAIRS.empty_table().to_pandas()


def dataset(samples_of, seed=0, classes=4, each=60, **of_first):
    """Return images with random measures and thumbnails; ``of_first`` changes rows of the first class."""
    random = np.random.default_rng(seed)
    rows = []
    for at in range(classes * each):
        row = {
            "label": f"class {at % classes}",
            "content_id": random.bytes(32).hex(),
            **{name: float(random.beta(5, 5)) for name in ("brightness", "contrast", "chroma")},
            "sharpness": float(random.normal(3, 0.5)),
            "width": int(random.integers(300, 600)),
            "byte_size": int(random.integers(10_000, 90_000)),
        }
        rows.append(row | ({name: value(random) for name, value in of_first.items()} if at % classes == 0 else {}))
    coarse = random.integers(0, 256, (len(rows), 4, 4, 3)).astype(np.uint8)
    return samples_of(rows), coarse.repeat(8, 1).repeat(8, 2)


def test_ignores_chance(samples_of):
    for seed in range(3):
        samples, thumbnails = dataset(samples_of, seed)
        assert run(samples, NONE, {}, thumbnails, options=Options()).findings == []


@pytest.mark.parametrize(
    ("name", "planted", "property_"),
    [
        ("brightness", lambda random: float(random.beta(9, 3)), "brightness"),
        ("camera", lambda random: "ACME 1" if random.random() < 0.7 else None, "camera"),
        ("byte_size", lambda random: int(random.integers(60_000, 120_000)), "bytes per pixel"),
        ("metadata", lambda random: json.dumps({"site": "north" if random.random() < 0.8 else "south"}), "column site"),
    ],
)
def test_finds_planted_property(samples_of, name, planted, property_):
    samples, thumbnails = dataset(samples_of, each=120, **{name: planted})
    found = run(samples, NONE, {}, thumbnails, options=Options(least_auc=0.7))
    assert {(finding.label, finding.evidence["property"]) for finding in found.findings} == {("class 0", property_)}
    finding = found.findings[0]
    assert finding.evidence["share_of_class"] > finding.evidence["share_of_rest"]
    first = (samples["label"] == "class 0").to_numpy()
    assert found.scores[first].max() > 0
    assert found.scores[~first].max() == 0
    assert set(finding.evidence["examples"]) <= set(samples["sample_id"][found.scores > 0])


def test_reports_range_of_darkened_class(samples_of):
    samples, thumbnails = dataset(samples_of, each=120)
    first = (samples["label"] == "class 0").to_numpy()
    samples.loc[first, "brightness"] *= np.float32(0.4)
    found = run(samples, NONE, {}, thumbnails, options=Options())
    (finding,) = found.findings
    evidence = finding.evidence
    assert evidence["value"].startswith("below 0.3")
    assert evidence["share_of_class"] > 0.85
    assert evidence["share_of_rest"] < 0.15
    assert evidence["median_of_class"] == pytest.approx(samples["brightness"][first].median())
    assert evidence["median_of_rest"] == pytest.approx(samples["brightness"][~first].median())
    assert f"of the other classes have brightness {evidence['value']}. Look at the examples" in finding.message
    within = first & (samples["brightness"] < float(evidence["value"].split()[-1]) - 0.005).to_numpy()
    assert (found.scores[within] > 0).all()
    assert (found.scores > 0).sum() == round(evidence["share_of_class"] * first.sum())
    assert set(evidence["examples"]) <= set(samples["sample_id"][found.scores > 0])


def test_finds_plain_background(samples_of):
    samples, thumbnails = dataset(samples_of)
    plain = np.flatnonzero((samples["label"] == "class 0").to_numpy() & (np.arange(len(samples)) % 3 > 0))
    thumbnails[plain, :3] = thumbnails[plain, -3:] = thumbnails[plain, :, :3] = thumbnails[plain, :, -3:] = 255
    found = run(samples, NONE, {}, thumbnails, options=Options(least_auc=0.7)).findings
    assert {(finding.label, finding.evidence["property"]) for finding in found} == {("class 0", "border brightness"), ("class 0", "border contrast")}
    assert run(samples, NONE, {}, options=Options(least_auc=0.7)).findings == []


def test_ignores_background_of_all_classes(samples_of):
    samples, thumbnails = dataset(samples_of)
    thumbnails[:, :6] = 255
    assert run(samples, NONE, {}, thumbnails, options=Options()).findings == []


def copied(samples_of, pairs_of, seed=0, pictures=24, each=25):
    """Return a class of distinct random images in several copies with different bytes, and three classes of 200 images."""
    random = np.random.default_rng(seed)
    rows, pairs = [], []
    for at, of_class in enumerate([0] * pictures + [1, 2, 3] * 200):
        row = {
            "label": f"class {of_class}",
            **{name: float(random.random()) for name in ("brightness", "contrast", "chroma", "sharpness", "entropy")},
        }
        copies = each if of_class == 0 else 1
        pairs += [(len(rows), len(rows) + copy, "re_encoded", 1.0, len(rows)) for copy in range(1, copies)]
        rows += [{**row, "sample_id": f"{at}/{copy}.jpg", "content_id": random.bytes(32).hex()} for copy in range(copies)]
    return samples_of(rows), pairs_of(pairs)


def test_counts_copies_once(samples_of, pairs_of):
    reported = [len(run(*copied(samples_of, pairs_of, seed), {}, options=Options(least_auc=0.55)).findings) for seed in range(10)]
    assert sum(reported) <= 1
    samples, _ = copied(samples_of, pairs_of)
    assert run(samples, NONE, {}, options=Options(least_auc=0.55)).findings


def test_ignores_class_of_few_distinct_images(samples_of, pairs_of):
    result = run(*copied(samples_of, pairs_of, pictures=10), {}, options=Options())
    assert np.isnan(result.scores[:250]).all()
    assert result.findings == []


def test_scores_all_copies_with_the_cue(samples_of, pairs_of):
    samples, pairs = copied(samples_of, pairs_of, pictures=60, each=3)
    first = (samples["label"] == "class 0").to_numpy()
    samples.loc[first, "camera"] = "ACME 1"
    found = run(samples, pairs, {}, options=Options())
    assert [finding.evidence["property"] for finding in found.findings] == ["camera"]
    assert (found.scores[first] > 0).all()
    backwards = np.arange(len(samples))[::-1]
    turned = pairs.assign(i=len(samples) - 1 - pairs["j"], j=len(samples) - 1 - pairs["i"])
    again = run(samples.iloc[backwards].reset_index(drop=True), turned, {}, options=Options())
    assert [(one.message, one.evidence) for one in again.findings] == [(one.message, one.evidence) for one in found.findings]
    np.testing.assert_array_equal(again.scores, found.scores[backwards])


def test_small_true_differences_add_no_false_findings(samples_of):
    """Large classes that truly differ, but less than is reported, and small ones that differ by chance."""
    random, measures = np.random.default_rng(1), ("brightness", "contrast", "sharpness", "entropy", "chroma", "luma_p01", "luma_p99")
    rows = []
    for at in range(200):
        lean = np.where((at + np.arange(7)) % 2 == 0, 0.6, -0.6)
        for _ in range(200 if at < 100 else 20):
            values = random.normal(lean if at < 100 else random.choice([-0.6, 0.6], 7))
            rows.append({"label": f"{'large' if at < 100 else 'small'} {at}", **dict(zip(measures, values.tolist(), strict=True))})
    samples = samples_of([{**row, "content_id": random.bytes(32).hex()} for row in rows])
    assert run(samples, NONE, {}, options=Options()).findings == []


def test_skips_small_classes_and_refuses_bad_options(samples_of):
    samples, thumbnails = dataset(samples_of, each=5)
    assert isinstance(run(samples, NONE, {}, thumbnails, options=Options()), Skipped)
    with pytest.raises(ConfigError, match=r"least_auc: 0.4 is out of range"):
        Options(least_auc=0.4)


def with_column(samples_of, value_of, classes=8, each=30):
    """Return images sorted by class, with a metadata column computed from class and position."""
    samples, _ = dataset(samples_of, classes=classes, each=each)
    samples = samples.sort_values("label", kind="stable").reset_index(drop=True)
    samples["metadata"] = [
        json.dumps({name: value(int(label[-1]), at) for name, value in value_of.items()}) for at, label in enumerate(samples["label"])
    ]
    return samples


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("coarse_label", lambda of, at: f"group {of // 2}"),
        ("coarse_label", lambda of, at: of < 3),
        ("class_id", lambda of, at: of),
        ("category_id", lambda of, at: 1000 * of + at % 6),
        ("synset", lambda of, at: "a typing error" if at == 7 else f"n{of}"),
    ],
)
def test_column_that_restates_the_label_is_one_note(samples_of, name, value):
    (finding,) = run(with_column(samples_of, {name: value}), NONE, {}, options=Options()).findings
    assert (finding.label, finding.severity, finding.evidence["property"]) == (None, "info", f"column {name}")
    assert "restates the label" in finding.message


def test_column_that_predicts_most_classes_is_one_warning(samples_of):
    random = np.random.default_rng(0)
    columns = {
        "camera": lambda of, at: f"ACME {of}" if random.random() < 0.9 else "another",
        "taken": lambda of, at: 1000 * of + int(random.integers(900)),  # no value twice, but a range for each class
    }
    found = run(with_column(samples_of, columns), NONE, {}, options=Options())
    assert {(finding.evidence["property"], finding.label, finding.severity) for finding in found.findings} == {
        ("column camera", None, "warning"),
        ("column taken", None, "warning"),
    }
    camera = next(finding for finding in found.findings if finding.evidence["property"] == "column camera")
    assert (camera.evidence["classes_given_away"], camera.evidence["classes_judged"]) == (8, 8)
    first = camera.evidence["example_classes"][0]
    assert len(camera.evidence["examples"]) == 5
    assert f"The column 'camera' alone predicts 8 of 8 classes, such as {first!r} by 'ACME {first[-1]}'" in camera.message
    assert found.scores.max() == 0


def test_column_that_predicts_few_classes_is_reported_per_class(samples_of):
    found = run(with_column(samples_of, {"camera": lambda of, at: f"ACME {min(of, 3)}"}), NONE, {}, options=Options()).findings
    assert [(finding.label, finding.severity) for finding in found] == [(f"class {at}", "warning") for at in range(3)]


def test_ignores_running_number(samples_of):
    assert run(with_column(samples_of, {"image_id": lambda of, at: 5000 + at}), NONE, {}, options=Options()).findings == []


def test_tests_column_that_only_sounds_like_a_label(samples_of):
    samples = with_column(samples_of, {"class_of_camera": lambda of, at: "large" if of == 0 and at % 5 else "small"})
    (finding,) = run(samples, NONE, {}, options=Options()).findings
    assert (finding.label, finding.evidence["value"]) == ("class 0", "'large'")


@pytest.mark.parametrize("column", ["format", "camera", "metadata"])
def test_finds_value_of_part_of_a_class(samples_of, column):
    samples, _ = dataset(samples_of, classes=10)
    first = np.flatnonzero(samples["label"] == "class 0")
    value = json.dumps({"site": "north"}) if column == "metadata" else "BMP"
    samples.loc[first[:18], column] = value
    samples.loc[np.flatnonzero(samples["label"] == "class 1")[:18], column] = json.dumps({"site": "south"}) if column == "metadata" else "TIFF"
    samples.loc[np.flatnonzero(samples["label"] == "class 2")[:6], column] = json.dumps({"site": "west"}) if column == "metadata" else "GIF"
    found = run(samples, NONE, {}, options=Options())
    assert [finding.label for finding in found.findings] == ["class 0", "class 1"]
    finding = found.findings[0]
    assert (finding.evidence["share_of_class"], finding.evidence["share_of_rest"]) == (0.3, 0)
    assert "can partly be predicted from" in finding.message
    assert set(np.flatnonzero(found.scores > 0)) >= set(first[:18])
    assert found.scores[first[18:]].max() == 0


def test_ignores_common_values_of_numbers(samples_of):
    samples, _ = dataset(samples_of, classes=10)
    samples.loc[np.flatnonzero(samples["label"] == "class 0")[:18], "brightness"] = 0.99
    assert run(samples, NONE, {}, options=Options()).findings == []


def test_of_two_classes_reports_the_one_with_the_rarer_value(samples_of):
    samples, _ = dataset(samples_of, classes=2)
    samples.loc[np.flatnonzero(samples["label"] == "class 1")[:45], "mode"] = "L"
    found = run(samples, NONE, {}, options=Options())
    assert [(finding.label, finding.evidence["value"]) for finding in found.findings] == [("class 1", "'L'")]
    assert found.scores[(samples["label"] == "class 0").to_numpy()].max() == 0


def test_of_two_equal_classes_reports_the_first_name(samples_of):
    samples, _ = dataset(samples_of, classes=2)
    samples["mode"] = np.where(samples["label"] == "class 0", "L", "RGB")
    assert [(finding.label, finding.evidence["value"]) for finding in run(samples, NONE, {}, options=Options()).findings] == [("class 0", "'L'")]


def test_reports_all_values_of_a_class(samples_of):
    samples, _ = dataset(samples_of)
    first = np.flatnonzero(samples["label"] == "class 0")
    samples.loc[first, "camera"] = [f"ACME {at % 3}" for at in range(len(first))]
    (finding,) = run(samples, NONE, {}, options=Options()).findings
    assert finding.evidence["likelier_values"] == pytest.approx({"values": 3, "share_of_class": 1, "share_of_rest": 0})
    assert "have 'ACME 0', and 100% but 0% any of 3 values that are more likely in it" in finding.message


def of_a_camera_each(samples_of, classes=40):
    """Return classes with a camera each."""
    samples, _ = dataset(samples_of, classes=classes, each=30)
    samples["camera"] = samples["label"].str.replace("class", "ACME")
    return samples


def test_camera_for_each_class_is_one_finding(samples_of):
    samples = of_a_camera_each(samples_of)
    found = run(samples, NONE, {"class 0": "tench"}, options=Options())
    (finding,) = found.findings
    assert (finding.kind, finding.label, finding.severity) == ("property_camera", None, "warning")
    assert (finding.evidence["classes_given_away"], finding.evidence["classes_judged"], finding.evidence["images"]) == (40, 40, 1200)
    assert finding.evidence["example_values"] == [repr(name.replace("class", "ACME")) for name in finding.evidence["example_classes"]]
    labels = samples.set_index("sample_id")["label"]
    assert labels[finding.evidence["examples"]].tolist() == finding.evidence["example_classes"]
    assert "The camera alone predicts 40 of 40 classes, such as 'class 0' (tench) by 'ACME 0'" in finding.message
    assert (found.scores == 1).all()
    backwards = run(samples[::-1].reset_index(drop=True), NONE, {"class 0": "tench"}, options=Options())
    assert (backwards.findings[0].message, backwards.findings[0].evidence) == (finding.message, finding.evidence)


def test_partly_predicted_class_is_reported_separately(samples_of):
    samples = of_a_camera_each(samples_of)
    odd = np.flatnonzero(samples["label"].isin(["class 0", "class 1"]))
    samples.loc[odd, "camera"] = np.where(np.arange(len(odd)) % 2 == 0, None, samples["camera"].iloc[odd])
    odd = np.flatnonzero(samples["label"] == "class 0")
    samples.loc[odd, "camera"] = [f"ACME {'own' if at < 10 else 2 + at}" for at in range(len(odd))]
    found = run(samples, NONE, {}, options=Options())
    dataset_, one = sorted(found.findings, key=lambda finding: finding.label or "")
    assert (dataset_.label, dataset_.evidence["classes_given_away"]) == (None, 39)
    assert (one.label, one.evidence["value"], one.evidence["share_of_class"]) == ("class 0", "'ACME own'", pytest.approx(1 / 3))
    assert (found.scores[odd[:10]] > 0).all()


def test_best_predicted_class_is_the_first_example(samples_of):
    """Half of the classes have one encoding, half another, and one class its own."""
    samples, _ = dataset(samples_of, classes=9, each=60)
    of = samples["label"].str[-1].astype(int)
    samples["encoder"] = np.where(of == 7, "quality 33", np.where(of % 2 == 0, "quality 95", "quality 75"))
    (finding,) = run(samples, NONE, {}, options=Options()).findings
    assert (finding.kind, finding.label) == ("property_encoder", None)
    assert (finding.evidence["example_classes"][0], finding.evidence["example_values"][0]) == ("class 7", "'quality 33'")
    assert "'class 7' by 'quality 33'" in finding.message


def test_camera_for_few_classes_is_reported_per_class(samples_of):
    samples = of_a_camera_each(samples_of, classes=8)
    samples["camera"] = samples["camera"].where(samples["label"].isin(["class 0", "class 1", "class 2"]))
    found = run(samples, NONE, {}, options=Options()).findings
    assert [(finding.label, finding.evidence["value"]) for finding in found] == [(f"class {at}", f"'ACME {at}'") for at in range(3)]


def test_messages_use_words_and_kinds_use_names(samples_of):
    samples, _ = dataset(samples_of, each=120)
    random, first = np.random.default_rng(0), (samples["label"] == "class 0").to_numpy()
    samples["luma_p99"] = np.where(first, random.uniform(0.1, 0.4, len(samples)), random.uniform(0.5, 1, len(samples)))
    (finding,) = run(samples, NONE, {}, options=Options()).findings
    assert (finding.kind, finding.evidence["property"]) == ("property_luma_p99", "luma_p99")
    assert "predicted from the brightest luma (99th percentile) alone" in finding.message
    assert "luma_p99" not in finding.message


def test_reports_both_ranges_of_a_class(samples_of):
    samples, _ = dataset(samples_of, each=120)
    random, first = np.random.default_rng(0), np.flatnonzero(samples["label"] == "class 0")
    samples["brightness"] = random.uniform(0.3, 0.7, len(samples))
    samples.loc[first, "brightness"] = np.where(np.arange(len(first)) % 3 < 2, random.uniform(0, 0.3, len(first)), random.uniform(0.7, 1, len(first)))
    found = run(samples, NONE, {}, options=Options())
    (finding,) = found.findings
    assert finding.evidence["share_of_class"] == pytest.approx(2 / 3, abs=0.02)
    further = finding.evidence["further_range"]
    assert (further["value"].endswith("or more"), further["share_of_class"]) == (True, pytest.approx(1 / 3, abs=0.02))
    assert f"have brightness {finding.evidence['value']}, and 33% but 0% {further['value']}. Look at" in finding.message
    assert (found.scores[first] > 0).mean() > 0.97
    ends = samples.set_index("sample_id")["brightness"][finding.evidence["examples"]]
    assert (ends < 0.5).tolist() == [True, False, True, False, True]
