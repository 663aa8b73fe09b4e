import json
import shutil

import numpy as np
import pytest
from PIL import Image

import audit
from audit.errors import ConfigError, SourceError
from audit.verify.comparison import compare
from audit.verify.datasets import find_dataset

SUNGLASS, SUNGLASSES, LAPTOP, NOTEBOOK, CANOE, CARTON = "n04355933", "n04356056", "n03642806", "n03832673", "n02951358", "n02971356"
IMAGENET = find_dataset("imagenet-1k").classes


@pytest.fixture(scope="module")
def copied(tmp_path_factory, photo):
    """Copies of all kinds, within and between train, val and test.

    Exact: two copies in train, in val under another label; two more train images, one in val under its own label and one under another;
    two copies in val. Some of these are in test too.
    Near: two in val; one in val and two in train; one in test and one in train.
    """
    data = tmp_path_factory.mktemp("data")

    def place(name):
        path = data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    for split, first in (("train", 0), ("val", 100), ("test", 200)):
        for number in range(6):
            photo(first + number).save(place(f"{split}/{SUNGLASS if number < 3 else SUNGLASSES}/{first + number}.png"))
    for source, *copies in (
        ("train/n04355933/0.png", "train/n04355933/20.png", "val/n04356056/21.png", "test/n04355933/22.png"),
        ("train/n04355933/1.png", "val/n04355933/23.png"),
        ("train/n04356056/3.png", "val/n04355933/26.png"),
        ("val/n04355933/101.png", "val/n04355933/24.png", "test/n04355933/25.png"),
    ):
        for copy in copies:
            shutil.copyfile(place(source), place(copy))
    for seed, *copies in (
        (103, "val/n04356056/30.jpg"),
        (4, "train/n04356056/31.jpg", "val/n04356056/32.jpg"),
        (205, "train/n04356056/33.jpg"),
    ):
        for quality, copy in zip((70, 90), copies, strict=False):
            photo(seed).save(place(copy), quality=quality)
    options = audit.ScanOptions(backbone="embedded", device="cpu", offline=True, only=("leakage",))
    return audit.scan(data, tmp_path_factory.mktemp("out") / "run", options=options)


def test_exact_copies_are_counted_by_split_and_label(copied, fact):
    rows = compare(copied, "imagenet-1k", {})
    assert fact(rows, "val images with an exact copy in train")["found"] == 3
    assert fact(rows, "of those, under another label")["found"] == 2
    assert fact(rows, "exact pairs within val")["found"] == 1
    assert fact(rows, "train images in exact groups")["found"] == 2


def test_near_copies_exclude_exact_ones_and_the_test_split(copied, fact):
    rows = compare(copied, "imagenet-1k", {})
    assert fact(rows, "near-duplicate groups within val")["found"] == 1
    assert fact(rows, "val images in these groups")["found"] == 2
    assert fact(rows, "val images with a near duplicate in train")["found"] == 1
    assert fact(rows, "train images with a near duplicate in val")["found"] == 2


def test_other_shots_of_a_scene_are_near_duplicates_as_in_the_paper(written, fact):
    run = written([(f"{split}/{number}.png", split, SUNGLASS) for number, split in enumerate(("val", "val", "train"))], [(0, 1, "same_scene")])
    rows = compare(run, "imagenet-1k", {})
    assert (fact(rows, "near-duplicate groups")["found"], fact(rows, "val images in these groups")["found"]) == (1, 2)
    assert fact(rows, "val images with a near duplicate")["found"] == 0


def test_near_copies_of_one_image_count_for_its_identical_copies(written, fact):
    """Only one image of each identical set is compared: 0 and 1 are identical, and 0 is paired with 2."""
    samples = [("val/0.png", "val", SUNGLASS), ("val/1.png", "val", SUNGLASS), ("train/2.png", "train", SUNGLASS), ("test/3.png", "test", SUNGLASS)]
    rows = compare(written(samples, [(0, 1, "identical_bytes"), (0, 2, "re_encoded"), (0, 3, "identical_bytes")]), "imagenet-1k", {})
    assert fact(rows, "val images with a near duplicate in train")["found"] == 2
    assert fact(rows, "train images with a near duplicate in val")["found"] == 1


def test_run_of_one_split_lacks_facts_about_two(written, fact):
    rows = compare(written([("train/1.png", "train", CANOE), ("test/2.png", "test", CANOE)], [(0, 1, "identical_bytes")]), "imagenet-1k", {})
    assert fact(rows, "val images with an exact")["not_checked"] == "needs both train and val images"
    assert fact(rows, "exact pairs within val")["found"] is None
    assert fact(rows, "train images in exact groups")["found"] == 0


@pytest.mark.parametrize("name", ["imagenet-1k", "cifar-10"])
@pytest.mark.parametrize("samples", [[], [("1.png", None, None), ("2.png", None, None)]])
def test_run_without_images_splits_or_labels_is_not_checked(written, name, samples):
    assert {row["found"] for row in compare(written(samples), name, {})} == {None}


def test_each_row_has_a_number_or_a_reason(copied):
    rows = compare(copied, "imagenet-1k", {})
    for row in rows:
        assert (row["found"] is None) == (row["not_checked"] is not None)
    message = " ".join(row["not_checked"] or "" for row in rows)
    assert "--labels real=FILE" in message
    assert "class_overlap did not run" in message


CLASSES = [(f"train/{label}/1.png", "train", label) for label in (SUNGLASS, SUNGLASSES, LAPTOP, NOTEBOOK, CANOE, CARTON)]


@pytest.mark.parametrize(
    ("label", "more"),
    [
        (SUNGLASSES, {"suggested_label": SUNGLASS}),
        (SUNGLASS, {"suggested_label": SUNGLASSES}),
        (CANOE, {"evidence": {"classes": [CANOE, SUNGLASS, SUNGLASSES], "share": 0.1}}),
        (None, {"evidence": {"worst_classes": {}, "overlapping_pairs": [{"classes": [SUNGLASS, SUNGLASSES], "share": 0.1}]}}),
    ],
)
def test_overlap_needs_a_finding_that_names_both_classes(written, fact, label, more):
    rows = compare(written(CLASSES, findings=[("class_overlap", label, more)]), "imagenet-1k", {})
    assert fact(rows, "classes sunglass and sunglasses")["found"] == 1
    assert fact(rows, "classes laptop and notebook")["found"] == 0
    assert fact(rows, "classes monitor and screen")["not_checked"] == "the run has no images of n03782006 or n04152593"


def test_overlap_is_not_found_in_separate_findings(written, fact):
    health = {
        "worst_classes": {SUNGLASS: 0.3, LAPTOP: 0.2, NOTEBOOK: 0.1},
        "overlapping_pairs": [{"classes": [SUNGLASSES, CANOE], "share": 0.01}, {"classes": [SUNGLASS, LAPTOP], "share": 0.01}],
    }
    findings = [
        ("class_overlap", None, {"evidence": health}),
        ("class_overlap", SUNGLASS, {"suggested_label": CANOE}),
        ("class_overlap", SUNGLASSES, {"evidence": {"images": 9}}),
        ("shortcuts", LAPTOP, {"suggested_label": NOTEBOOK}),
    ]
    rows = compare(written(CLASSES, findings=findings), "imagenet-1k", {})
    assert fact(rows, "classes sunglass and sunglasses")["found"] == 0
    assert fact(rows, "classes laptop and notebook")["found"] == 0


def test_class_is_found_in_a_finding_about_it(written, fact):
    findings = [("split_shift", CANOE, {"evidence": {"examples": ["val/n02971356/1.png"]}}), ("marks", CARTON, {})]
    rows = compare(written(CLASSES, findings=findings), "imagenet-1k", {})
    assert fact(rows, "canoe's shift")["found"] == 1
    assert fact(rows, "carton's watermark")["found"] == 1


def test_class_is_not_found_in_examples_of_other_findings(written, fact):
    examples = {"evidence": {"examples": [f"val/{CANOE}/ILSVRC2012_val_00000001.JPEG", f"val/{CARTON}/2.JPEG"]}}
    findings = [("split_shift", None, examples), ("split_shift", CARTON, examples), ("marks", CANOE, examples)]
    rows = compare(written(CLASSES, findings=findings), "imagenet-1k", {})
    assert fact(rows, "canoe's shift")["found"] == 0
    assert fact(rows, "carton's watermark")["found"] == 0


def test_distinguishes_checks_without_findings_from_checks_that_did_not_run(written, fact):
    rows = compare(written(CLASSES, done=["marks"]), "imagenet-1k", {})
    assert fact(rows, "carton's watermark")["found"] == 0
    assert fact(rows, "canoe's shift")["not_checked"] == "split_shift did not run"


def test_labels_may_be_words(written, fact):
    samples = [("1.png", "train", "sunglass"), ("2.png", "train", "sunglasses, dark glasses, shades"), ("3.png", "train", "canoe")]
    found = [("class_overlap", "sunglass", {"suggested_label": "sunglasses, dark glasses, shades"}), ("split_shift", "canoe", {})]
    rows = compare(written(samples, findings=found), "imagenet-1k", {})
    assert fact(rows, "classes sunglass and sunglasses")["found"] == 1
    assert fact(rows, "canoe's shift")["found"] == 1


@pytest.mark.slow
def test_reads_real_findings_of_overlap_and_shift(tmp_path, fact):
    """A scan of two classes of the same images, one whose val differs, and two sound ones."""
    random = np.random.default_rng(3)
    hues = {SUNGLASS: (200, 40, 40), SUNGLASSES: (200, 40, 40), LAPTOP: (40, 200, 40), NOTEBOOK: (40, 40, 200), CANOE: (200, 200, 40)}
    for split, count in (("train", 24), ("val", 16)):
        for label, hue in hues.items():
            for number in range(count):
                seen = (40, 200, 200) if (split, label) == ("val", CANOE) else hue
                coarse = np.clip(random.normal(seen, 40, (4, 5, 3)), 0, 255).astype(np.uint8)
                path = tmp_path / "data" / split / label / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC).save(path)
    options = audit.ScanOptions(backbone="embedded", device="cpu", offline=True, only=("class_overlap", "split_shift"))
    rows = compare(audit.scan(tmp_path / "data", tmp_path / "run", options=options), "imagenet-1k", {})
    assert fact(rows, "classes sunglass and sunglasses")["found"] == 1
    assert fact(rows, "classes laptop and notebook")["found"] == 0
    assert fact(rows, "canoe's shift")["found"] == 1


@pytest.fixture
def cifar(written):
    """Twenty train and ten test images; test/3 and train/7 are copies, as are test/4 and train/5; train/1, train/2 and test/6 are flagged."""
    samples = [(f"train/{number:05}.png", "train", "cat" if number < 10 else "dog") for number in range(20)]
    samples += [(f"test/{number:05}.png", "test", "cat") for number in range(10)]
    flagged = [("label_errors", "cat", {"sample_id": name}) for name in ("train/00001.png", "train/00002.png", "test/00006.png")]
    return written(samples, [(7, 23, "edited_copy"), (5, 24, "same_scene")], flagged)


def write(path, text):
    path.write_text(text)
    return path


def test_counts_listed_pairs_of_the_run(cifar, tmp_path, fact):
    pairs = "TestID,TrainID,Distance,Judgment\n3,7,0.1,1\n4,5,0.1,0\n1,1,0.1,1\n2,2,0.1,2\n3,9999,0.1,1\n"
    rows = compare(cifar, "cifar-10", {"duplicates": write(tmp_path / "pairs.csv", pairs)})
    assert fact(rows, "pairs of ciFAIR's list")["found"] == "2 of 3 in the run (4 listed)"


def test_list_of_other_images_is_not_counted(cifar, tmp_path, fact):
    pairs = "TestID,TrainID,Distance,Judgment\n3,17,0.1,1\n4,15,0.1,0\n1,1,0.1,1\n"  # a cat and a dog, twice
    row = fact(compare(cifar, "cifar-10", {"duplicates": write(tmp_path / "pairs.csv", pairs)}), "pairs of ciFAIR's list")
    assert row["found"] is None
    assert "match 33% of its 3 images" in row["not_checked"]


@pytest.mark.parametrize(
    ("key", "what", "text", "message"),
    [
        ("duplicates", "pairs of ciFAIR's list", "", "the file is empty"),
        ("duplicates", "pairs of ciFAIR's list", "TestID,TrainID,Judgment\n", "the file is empty"),
        ("duplicates", "pairs of ciFAIR's list", "test_index,train_index\n9000,9000\n", "no image of the file is in the run"),
        ("human", "train images that people", "", "the file is empty"),
        ("human", "train images that people", "index,aggre_label\n", "the file is empty"),
        ("mturk", "test labels confirmed", "", "the file is empty"),
        ("mturk", "test labels confirmed", "index,given\n", "the file is empty"),
        ("mturk", "test labels confirmed", "index,given\n9000,1\n", "no image of the file is in the run"),
    ],
)
def test_file_without_images_of_the_run_is_not_checked(cifar, tmp_path, fact, key, what, text, message):
    row = fact(compare(cifar, "cifar-10", {key: write(tmp_path / "file.csv", text)}), what)
    assert (row["found"], row["not_checked"]) == (None, message)


def test_empty_list_of_votes_is_not_checked(cifar, tmp_path, fact):
    assert fact(compare(cifar, "cifar-10", {"mturk": votes(tmp_path)}), "test labels confirmed")["found"] is None


def test_counts_pairs_with_numbered_classes(written, fact):
    run = written([("val/1.png", "val", "0"), ("val/2.png", "val", "999")], [(0, 1, "identical_bytes")])
    assert fact(compare(run, "imagenet-1k", {}), "exact pairs within val")["found"] == 1


@pytest.mark.parametrize("name", ["imagenet-1k", "cifar-10"])
def test_nothing_is_checked_without_classes_of_the_dataset(written, name):
    run = written([(f"{split}/00001.png", split, "dahlia") for split in ("train", "val", "test")], [(0, 1, "identical_bytes")], done=["marks"])
    assert {(row["found"], row["not_checked"]) for row in compare(run, name, {})} == {(None, f"no class of the run is a class of {name}")}


def human(tmp_path, own, people, header="index,clean_label,aggre_label"):
    lines = [f"{number},{ours},{theirs}" for number, (ours, theirs) in enumerate(zip(own, people, strict=True))]
    return write(tmp_path / "human.csv", "\n".join([header, *lines, "40000,cat,dog"]))


def test_counts_human_disagreement_and_how_much_is_flagged(cifar, tmp_path, fact):
    own = ["cat"] * 10 + ["dog"] * 10
    people = ["cat", "dog", "cat", "bird", *own[4:]]
    rows = compare(cifar, "cifar-10", {"human": human(tmp_path, own, people)})
    assert fact(rows, "train images that people")["found"] == 0.1
    assert fact(rows, "of those, reported")["found"] == "1 of 2"


def test_human_labels_in_another_order_are_not_counted(cifar, tmp_path, fact):
    own = ["cat"] * 10 + ["dog"] * 10
    rows = compare(cifar, "cifar-10", {"human": human(tmp_path, own[::-1], own)})
    for what in ("train images that people", "of those, reported"):
        assert fact(rows, what)["found"] is None
        assert "match 0% of its 20 images" in fact(rows, what)["not_checked"]
    bare = write(tmp_path / "human.csv", "\n".join(["aggre_label", *own[::-1]]))
    assert "at least 50%" in fact(compare(cifar, "cifar-10", {"human": bare}), "train images that people")["not_checked"]


def test_a_few_labels_may_have_been_corrected(cifar, tmp_path, fact):
    own = ["dog", "dog", *["cat"] * 8, *["dog"] * 10]
    rows = compare(cifar, "cifar-10", {"human": human(tmp_path, own, own)})
    assert fact(rows, "train images that people")["found"] == 0.1


def test_numbers_that_restart_in_each_class_are_not_compared(written, tmp_path, fact):
    samples = [(f"train/{label}/{number:04}.png", "train", label) for label in ("airplane", "cat") for number in range(10)]
    own = ["airplane"] * 10 + ["cat"] * 10
    rows = compare(written(samples), "cifar-10", {"human": human(tmp_path, own, own)})
    assert "have the same number" in fact(rows, "train images that people")["not_checked"]


@pytest.mark.parametrize(
    ("key", "what", "text", "message"),
    [
        (
            "human",
            "train images that people",
            "index,aggre_label\n-1,cat\n1,cat\n999999,cat\n",
            "2 of the file's 3 images have numbers that are not valid for train images (first: -1)",
        ),
        (
            "mturk",
            "test labels confirmed",
            "index,given\n10000,1\n3,1\n",
            "1 of the file's 2 images have numbers that are not valid for held-out images",
        ),
        (
            "duplicates",
            "pairs of ciFAIR's list",
            "test_index,train_index\n3,7\n-1,7\n",
            "1 of the file's 2 images have numbers that are not valid for held-out images",
        ),
        (
            "duplicates",
            "pairs of ciFAIR's list",
            "test_index,train_index\n3,7\n4,50000\n",
            "1 of the file's 2 images have numbers that are not valid for train images",
        ),
    ],
)
def test_file_with_invalid_numbers_is_not_checked(cifar, tmp_path, fact, key, what, text, message):
    row = fact(compare(cifar, "cifar-10", {key: write(tmp_path / "file.csv", text)}), what)
    assert row["found"] is None
    assert message in row["not_checked"]


def votes(tmp_path, *entries):
    entries_of = [{"id": number, "given_original_label": label, "mturk": {"given": given}} for number, label, given in entries]
    return write(tmp_path / "mturk.json", json.dumps(entries_of))


def test_counts_confirmed_errors_and_how_many_are_reported(cifar, tmp_path, fact):
    path = votes(tmp_path, (3, 3, 2), (6, 3, 0), (4, 3, 3), (5, 3, 5), (777, 0, 1))
    rows = compare(cifar, "cifar-10", {"mturk": path})
    assert fact(rows, "test labels confirmed")["found"] == "1 of 2 in the run reported (3 confirmed)"


def test_votes_on_other_images_are_not_counted(cifar, tmp_path, fact):
    row = fact(compare(cifar, "cifar-10", {"mturk": votes(tmp_path, (3, 0, 2), (6, 1, 0), (4, 3, 3))}), "test labels confirmed")
    assert "match 33% of its 3 images" in row["not_checked"]


def test_flagged_errors_need_label_errors_to_run(written, tmp_path, fact):
    run = written([(f"{split}/{number}.png", split, "cat") for split in ("train", "test") for number in range(4)])
    files = {"human": human(tmp_path, ["cat"] * 4, ["cat", "cat", "cat", "dog"]), "mturk": votes(tmp_path, (3, 3, 1))}
    rows = compare(run, "cifar-10", files)
    assert fact(rows, "train images that people")["found"] == 0.25
    assert fact(rows, "of those, reported")["not_checked"] == "label_errors did not run"
    assert fact(rows, "test labels confirmed")["not_checked"] == "label_errors did not run"


def real(tmp_path, sets):
    return write(tmp_path / "real.json", json.dumps([*sets, *[[9]] * (50_000 - len(sets))]))


@pytest.mark.parametrize("suffix", ["", "_n01440764"])
def test_counts_real_labels_of_images_in_the_run(written, tmp_path, fact, suffix):
    samples = [(f"val/ILSVRC2012_val_{number:08}{suffix}.JPEG", "val", IMAGENET[0]) for number in (1, 2, 3, 4, 5, 6)]
    rows = compare(written(samples), "imagenet-1k", {"real": real(tmp_path, [[], [0, 2], [3], [0], [5, 6], [0], [], [0]])})
    assert fact(rows, "val images without any ReaL label")["found"] == 1
    assert fact(rows, "val images with several")["found"] == 2
    assert fact(rows, "val images whose own label")["found"] == 2


def test_real_labels_of_other_images_are_not_counted(written, tmp_path, fact):
    samples = [(f"val/ILSVRC2012_val_{number:08}.JPEG", "val", IMAGENET[number % 7]) for number in range(1, 31)]
    rows = compare(written(samples), "imagenet-1k", {"real": real(tmp_path, [[], *([number % 1000] for number in range(20, 49))])})
    for what in ("val images without any ReaL", "val images with several", "val images whose own label"):
        assert fact(rows, what)["found"] is None
        assert "match 0% of its 29 images" in fact(rows, what)["not_checked"]


def test_real_labels_start_at_image_1(written, tmp_path, fact):
    run = written([("val/ILSVRC2012_val_00000001.JPEG", "val", IMAGENET[0])])
    assert fact(compare(run, "imagenet-1k", {"real": real(tmp_path, [[0, 2], [], [1]])}), "val images with several")["found"] == 1


def test_real_labels_apply_only_to_imagenet_val(written, tmp_path, fact):
    samples = [(f"val/val_{number}.JPEG", "val", IMAGENET[0]) for number in range(5)]
    samples += [("test/ILSVRC2012_val_00000001.JPEG", "test", IMAGENET[0])]
    rows = compare(written(samples), "imagenet-1k", {"real": real(tmp_path, [[0], [], []])})
    for what in ("val images without any ReaL", "val images with several", "val images whose own label"):
        assert fact(rows, what)["found"] is None
        assert "file name contains the image's number" in fact(rows, what)["not_checked"]


def test_real_labels_do_not_reject_unlabelled_images(written, tmp_path, fact):
    samples = [("val/ILSVRC2012_val_00000001.JPEG", "val", None), ("val/ILSVRC2012_val_00000002.JPEG", "val", None)]
    rows = compare(written(samples), "imagenet-1k", {"real": real(tmp_path, [[4], []])})
    assert fact(rows, "val images without any ReaL")["found"] == 1
    assert fact(rows, "val images whose own label")["not_checked"] == "the run's val images have no labels"


@pytest.mark.parametrize(("name", "key"), [("cifar-10", "duplicates"), ("cifar-10", "human"), ("cifar-10", "mturk"), ("imagenet-1k", "real")])
def test_refuses_file_of_another_format(cifar, tmp_path, name, key):
    with pytest.raises(SourceError, match=r"wrong\.csv"):
        compare(cifar, name, {key: write(tmp_path / "wrong.csv", "a,b\n1,2\n")})
    with pytest.raises(SourceError, match=r"missing\.csv"):
        compare(cifar, name, {key: tmp_path / "missing.csv"})


def test_refuses_unneeded_file(cifar, tmp_path):
    with pytest.raises(ConfigError, match=r"cifar-10 needs 'real'.*duplicates, human, mturk"):
        compare(cifar, "cifar-10", {"real": tmp_path / "real.json"})


def test_result_does_not_depend_on_row_order(cifar, written, tmp_path):
    samples = cifar.columns("sample_id", "split", "label").to_numpy().tolist()
    files = {"human": human(tmp_path, ["cat"] * 10 + ["dog"] * 10, ["bird"] * 4 + ["cat"] * 6 + ["dog"] * 10), "mturk": votes(tmp_path, (6, 3, 1))}
    files["duplicates"] = write(tmp_path / "pairs.csv", "test_index,train_index\n3,7\n8,8\n")
    before = compare(cifar, "cifar-10", files)
    flagged = [("label_errors", "cat", {"sample_id": name}) for name in ("test/00006.png", "train/00002.png", "train/00001.png")]
    after = written(samples[::-1], [(6, 22, "edited_copy"), (5, 24, "same_scene")], flagged)
    assert compare(after, "cifar-10", files) == before
