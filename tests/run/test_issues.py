import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from audit.run.issues import MOST_APART, issue_ids, issues
from audit.run.ranking import ranked
from audit.tables import FINDINGS

KINDS = {"image_quality": ["blurred", "dark"], "shortcuts": ["property_*"], "privacy": ["gps", "date", "serial", "owner", "software"]}


def findings(*rows):
    """Return findings: (check, kind, subject, sample, label, group)."""
    columns = dict.fromkeys(FINDINGS.names)
    made = [
        {
            **columns,
            "finding_id": f"{at:04}",
            "check": check,
            "kind": kind,
            "subject": subject,
            "severity": "warning",
            "score": 0.5,
            "sample_id": sample,
            "content_id": sample and f"bytes of {sample}",
            "label": label,
            "group_id": group,
        }
        for at, (check, kind, subject, sample, label, group) in enumerate(rows)
    ]
    return pd.DataFrame(made, columns=FINDINGS.names)


def blurred(number, label="cat", kind="blurred"):
    return [("image_quality", kind, "sample", f"{label}/{at}.jpg", label, None) for at in range(number)]


def merged(*rows):
    """Return the issues of findings."""
    found = findings(*rows)
    return issues(found.assign(issue_id=issue_ids(found, KINDS)))


def test_few_images_are_issues_of_their_own_and_many_are_one():
    few, many = merged(*blurred(MOST_APART)), merged(*blurred(MOST_APART + 1))
    assert few["issue_id"].tolist() == few["finding_id"].tolist()
    assert (len(few), len(many), many["findings"].item(), many["images"].item()) == (MOST_APART, 1, 4, 4)


def test_many_images_of_a_few_classes_are_one_issue_per_class():
    found = merged(*blurred(5, "cat"), *blurred(7, "dog"))
    assert found[["label", "images"]].to_numpy().tolist() == [["cat", 5], ["dog", 7]]
    assert len(merged(*(row for label in "abcd" for row in blurred(5, label)))) == 1


def test_kinds_that_differ_are_not_merged():
    assert len(merged(*blurred(9), *blurred(9, kind="dark"))) == 2


def test_one_kind_of_most_classes_is_one_issue():
    found = merged(*(("class_balance", "few_images", "class", None, f"class {at}", None) for at in range(250)))
    assert (len(found), found["classes"].item(), found["findings"].item()) == (1, 250, 250)


def test_properties_that_predict_one_class_are_one_issue():
    rows = [("shortcuts", f"property_{name}", "class", None, label, None) for label in ("x", "y") for name in ("size", "camera", "format")]
    assert merged(*rows)[["label", "findings"]].to_numpy().tolist() == [["x", 3], ["y", 3]]


def test_a_group_of_copies_is_one_issue_whichever_checks_report_it():
    found = merged(
        ("leakage", "re_encoded", "sample", "a", "cat", "g"),
        ("near_duplicates", "re_encoded", "sample", "b", "cat", "g"),
        ("near_duplicates", "re_encoded", "sample", "c", "cat", "h"),
    )
    assert found[["check", "findings", "groups"]].to_numpy().tolist() == [["leakage", 2, 1], ["near_duplicates", 1, 1]]


def test_different_findings_about_one_image_are_one_issue():
    found = merged(("outliers", "outlier", "sample", "a", "cat", None), *blurred(1), ("integrity", "exif_rotated", "sample", "a", "cat", None))
    assert sorted(found["findings"]) == [1, 2]


def test_what_the_dataset_and_its_images_have_is_one_issue():
    found = merged(("privacy", "gps", "sample", "a", "cat", None), ("privacy", "gps", "dataset", None, None, None))
    assert len(found) == 1
    every = merged(*(("privacy", kind, "dataset", None, None, None) for kind in KINDS["privacy"]))
    assert every["findings"].tolist() == [5]


ROW = st.tuples(
    st.sampled_from(["image_quality", "shortcuts", "privacy", "leakage"]),
    st.sampled_from(["blurred", "property_a", "property_b", "gps"]),
    st.sampled_from(["sample", "class", "dataset", "group"]),
    st.sampled_from(["a", "b", "c", "d", "e"]),
    st.sampled_from(["cat", "dog", "owl", "elk", None]),
    st.sampled_from(["g", "h", None]),
)


@given(st.lists(ROW, max_size=30), st.randoms(use_true_random=False))
def test_every_finding_is_in_one_issue_whatever_the_order(rows, random):
    found = findings(*((*row[:3], row[3] if row[2] == "sample" else None, *row[4:]) for row in rows))
    shuffled = ranked(found.sample(frac=1, random_state=random.randrange(1000)))
    ids = pd.Series(issue_ids(ranked(found), KINDS), ranked(found)["finding_id"])
    assert pd.Series(issue_ids(shuffled, KINDS), shuffled["finding_id"]).to_dict() == ids.to_dict()
    whole = issues(found.assign(issue_id=ids.loc[found["finding_id"]].to_numpy()))
    assert whole["findings"].sum() == len(found)
    assert not whole["issue_id"].duplicated().any()


def test_the_id_of_an_issue_stays_when_images_are_added():
    assert merged(*blurred(5))["issue_id"].tolist() == merged(*blurred(50))["issue_id"].tolist()
