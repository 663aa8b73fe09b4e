import json

import numpy as np
import pandas as pd
import pytest

from audit.checks.base import Skipped
from audit.checks.subgroups import Options, run
from audit.errors import ConfigError
from audit.tables import PAIRS

NONE = PAIRS.empty_table().to_pandas()
WORDS = {"class 1": "heron"}
CLASSES = [f"class {at}" for at in range(5)]


def dataset(samples_of, seed=0, each=200, worse=None):
    """Return images of five classes and two sites, in ten clusters each; a tenth is predicted wrong, and half of the rows in ``worse``."""
    random = np.random.default_rng(seed)
    classes = np.arange(len(CLASSES) * each) % len(CLASSES)
    kinds, sites = random.integers(0, 10, len(classes)), np.where(random.random(len(classes)) < 0.2, "north", "south")
    centres = random.normal(size=(len(CLASSES), 10, 32))
    embeddings = centres[classes, kinds] + random.normal(size=(len(classes), 32)) * 0.3
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    samples = samples_of(
        [
            {
                "label": CLASSES[of_class],
                "metadata": json.dumps({"site": str(site)}),
                "brightness": random.beta(5, 5),
                "content_id": random.bytes(32).hex(),
            }
            for of_class, site in zip(classes, sites, strict=True)
        ]
    )
    chance = np.full(len(classes), 0.1)
    if worse is not None:
        chance[worse(classes, kinds, sites)] = 0.5
    wrong = random.random(len(classes)) < chance
    predicted = np.where(wrong, (classes + 1) % len(CLASSES), classes)
    quality = pd.DataFrame(
        {"given": classes, "predicted": predicted, "probability_wrong": np.where(wrong & (random.random(len(classes)) < 0.3), 0.9, 0.1)}
    )
    return (samples, quality, embeddings.astype(np.float16), CLASSES, NONE, WORDS), (classes, kinds, sites)


def test_ignores_chance(samples_of):
    for seed in range(5):
        tables, _ = dataset(samples_of, seed)
        assert run(*tables, options=Options()).findings == []


def test_finds_worse_source_by_column(samples_of):
    tables, (_, _, sites) = dataset(samples_of, worse=lambda classes, kinds, sites: sites == "north")
    found = run(*tables, options=Options())
    finding = next(finding for finding in found.findings if finding.kind == "column_site_north")
    assert (finding.evidence["by"], finding.evidence["value"]) == ("column site", "'north'")
    assert finding.evidence["images"] == (sites == "north").sum()
    rates = finding.evidence["rates"]["predictions"]
    assert rates["rate"] == pytest.approx((tables[1]["given"] != tables[1]["predicted"])[sites == "north"].mean())
    assert (0.05 < rates["expected"] < 0.15, rates["adjusted_p"] < 0.01) == (True, True)
    assert "whose column 'site' is 'north'" in finding.message
    assert "heron" in finding.message
    assert (found.scores[sites == "north"] > 0.2).all()


def test_finds_worse_cluster_in_a_class(samples_of):
    tables, (classes, kinds, _) = dataset(samples_of, each=400, worse=lambda classes, kinds, sites: (classes == 2) & (kinds == 3))
    found = run(*tables, options=Options(clusters=50))
    planted = {tables[0]["sample_id"][row] for row in np.flatnonzero((classes == 2) & (kinds == 3))}
    assert [finding.kind for finding in found.findings] == ["cluster"]
    assert set(found.findings[0].evidence["examples"]) <= planted
    assert set(found.findings[0].evidence["typical"]) <= planted
    assert tables[0]["sample_id"][found.findings[0].group] in planted
    assert found.findings[0].evidence["commonest_classes"] == ["'class 2'"]


def test_describes_cluster_by_closest_sentences(samples_of):
    tables, (classes, kinds, _) = dataset(samples_of, each=400, worse=lambda classes, kinds, sites: (classes == 1) & (kinds == 4))
    middle = tables[2][(classes == 1) & (kinds == 4)].astype(np.float32).mean(0)

    def encode_text(sentences):
        found = np.random.default_rng(0).normal(size=(len(sentences), 32)) * 0.1
        found[[sentences.index("a photo of heron"), sentences.index("a photo in snow")]] += [3 * middle, 2 * middle]
        return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)

    finding = next(finding for finding in run(*tables, encode_text, options=Options(clusters=50)).findings if finding.kind == "cluster")
    assert {"a photo of heron", "a photo in snow"} <= set(finding.evidence["looks_like"])
    plain = next(finding for finding in run(*tables, options=Options(clusters=50)).findings if finding.kind == "cluster")
    assert "looks_like" not in plain.evidence


def test_does_not_blame_subgroup_for_its_classes(samples_of):
    """Only class 0 has the site, and class 0 is bad everywhere."""
    tables, (classes, _, _) = dataset(samples_of, worse=lambda classes, kinds, sites: classes == 0)
    tables[0]["metadata"] = [json.dumps({"site": "north" if at == 0 else "south"}) for at in classes]
    assert [finding.evidence["by"] for finding in run(*tables, options=Options()).findings if finding.kind != "cluster"] == []


def test_reports_one_of_two_groups_with_the_same_images(samples_of):
    """The column and the clusters find the same images: that is one fact."""
    tables, (_, _, sites) = dataset(samples_of, worse=lambda classes, kinds, sites: sites == "north")
    rows = np.flatnonzero(sites == "north")
    embeddings = tables[2].copy()
    embeddings[rows] = embeddings[rows[0]] + 1e-3 * np.random.default_rng(0).normal(size=(len(rows), 32))
    harder = tables[1].assign(probability_wrong=0.1)
    for quality, severity in ((tables[1], "warning"), (harder, "info")):
        found = run(tables[0], quality, embeddings, *tables[3:], options=Options(clusters=5)).findings
        assert [finding.severity for finding in found] == [severity]


def test_only_the_ends_of_a_measure_are_groups(samples_of):
    for low, high, reported in ((0.48, 0.52, False), (0.0, 0.3, True)):
        tables, _ = dataset(samples_of)
        bright = tables[0]["brightness"].to_numpy()
        wrong = (low < bright) & (bright < high)
        quality = tables[1].assign(predicted=np.where(wrong, (tables[1]["given"] + 1) % len(CLASSES), tables[1]["predicted"]))
        found = run(tables[0], quality, *tables[2:], options=Options()).findings
        assert any(finding.evidence["by"] == "brightness" for finding in found) == reported


def test_counts_copies_once(samples_of, pairs_of):
    """One image that is predicted wrong, in thirty copies with different bytes, all in one cluster."""
    (samples, quality, embeddings, *_), _ = dataset(samples_of, each=150)
    quality.loc[0, "predicted"] = 1
    rows = [*range(len(samples)), *[0] * 29]
    samples, quality = (table.iloc[rows].reset_index(drop=True) for table in (samples, quality))
    samples["content_id"] = [f"{at * 7919 % 1000:064x}" for at in range(len(rows))]
    samples["sample_id"] = [f"{at:04}.jpg" for at in range(len(rows))]
    copies = pairs_of([(0, at, "re_encoded", 1.0, 0) for at in range(750, len(rows))])
    without, found = (run(samples, quality, embeddings[rows], CLASSES, pairs, WORDS, options=Options(clusters=40)) for pairs in (NONE, copies))
    assert [finding for finding in without.findings if samples["sample_id"][0] in finding.evidence["examples"]]
    assert [finding for finding in found.findings if samples["sample_id"][0] in finding.evidence["examples"]] == []


def test_scores_all_copies_in_a_subgroup(samples_of, pairs_of):
    tables, (_, _, sites) = dataset(samples_of, worse=lambda classes, kinds, sites: sites == "north")
    rows = np.repeat(np.arange(len(sites)), 2)
    samples, quality = (table.iloc[rows].reset_index(drop=True) for table in tables[:2])
    samples["sample_id"] = [f"{at:04}.jpg" for at in range(len(rows))]
    copies = pairs_of([(at, at + 1, "identical_bytes", 1.0, at) for at in range(0, len(rows), 2)])
    found = run(samples, quality, tables[2][rows], CLASSES, copies, WORDS, options=Options())
    once = run(*tables, options=Options())
    finding, single = (next(one for one in result.findings if one.kind == "column_site_north") for result in (found, once))
    assert finding.evidence["images"] == 2 * single.evidence["images"] == 2 * finding.evidence["pictures"]
    assert finding.evidence["rates"] == single.evidence["rates"]
    np.testing.assert_allclose(found.scores, once.scores[rows])


def test_small_true_differences_add_no_false_findings(samples_of):
    """A numeric column has a true effect on the rate that is too small to report; the clusters have none."""
    reported = 0
    for seed in range(3):
        random = np.random.default_rng(seed)
        classes, bright = random.integers(0, 5, 20_000), random.random(20_000)
        measures = ("brightness", "contrast", "sharpness", "entropy", "chroma", "luma_p01", "luma_p99")
        columns = {"label": np.array(CLASSES, object)[classes], **dict.fromkeys(measures, bright.astype(np.float32))}
        samples = samples_of([{}] * 20_000).assign(**columns)
        wrong = random.random(20_000) < 0.15 + 0.16 * (bright - 0.5)
        quality = pd.DataFrame({"given": classes, "predicted": np.where(wrong, (classes + 1) % 5, classes), "probability_wrong": 0.1})
        embeddings = random.normal(size=(20_000, 16))
        embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
        found = run(samples, quality, embeddings.astype(np.float16), CLASSES, NONE, WORDS, options=Options()).findings
        reported += len([finding for finding in found if finding.kind == "cluster"])
    assert reported == 0


def test_unjudged_images_have_no_score(samples_of):
    tables, _ = dataset(samples_of)
    tables[1].loc[3, "given"] = -1
    tables[0].loc[4, "outcome"] = "failed"
    scores = run(*tables, options=Options()).scores
    assert np.isnan(scores[[3, 4]]).all()
    assert np.isfinite(np.delete(scores, [3, 4])).all()


def test_is_skipped_for_too_few_images(samples_of):
    tables, _ = dataset(samples_of, each=5)
    skipped = run(*tables, options=Options())
    assert isinstance(skipped, Skipped)
    assert skipped.reason == "25 distinct images have a label and a prediction; 40 are needed"


@pytest.mark.parametrize("wrong", [{"least_difference": 0}, {"false_discoveries": 1}, {"fewest": 4}, {"clusters": -1}])
def test_refuses_options_out_of_range(wrong):
    with pytest.raises(ConfigError):
        Options(**wrong)
