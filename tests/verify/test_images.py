"""Numbers in file names are trusted only if they can be the dataset's own."""

from contextlib import nullcontext

import numpy as np
import pytest

from audit.verify.datasets import find_dataset
from audit.verify.images import Images, Unknown, images_of, require_fit, rows_by_number

TEN, IMAGENET = find_dataset("cifar-10"), find_dataset("imagenet-1k")


def images(ids, label="cat", *, held_out=False):
    count, side = len(ids), np.full(len(ids), held_out)
    labels = np.full(count, label, object)
    return Images(np.array(ids, object), labels, labels, ~side, side)


@pytest.mark.parametrize("name", ["00012.png", "12.jpg", "train_12.png", "img-00012.png", "Train/cat/train_image_12.png"])
def test_reads_numbers_from_names(name):
    assert rows_by_number(images(["cat/7.png", name]), TEN, held_out=False) == {7: 0, 12: 1}


@pytest.mark.parametrize(
    "names",
    [
        ["camel_s_000148.png", "caballo_s_000003.png"],
        ["data/train-00000-of-00001/0000-000000", "data/train-00000-of-00001/0000-000001"],
        ["train/cat/cat_12.png"],
        ["12_cat.png"],
    ],
)
def test_ignores_other_numbers_in_names(names):
    with pytest.raises(Unknown, match="no train file name contains the image's number"):
        rows_by_number(images(names), TEN, held_out=False)


def test_numbers_that_restart_in_each_class_are_not_trusted():
    names = [f"train/{label}/{number:04}.png" for label in ("airplane", "cat") for number in range(3)]
    with pytest.raises(Unknown, match=r"train/airplane/0000\.png and train/cat/0000\.png have the same number"):
        rows_by_number(images(names), TEN, held_out=False)


def test_out_of_range_numbers_are_not_trusted():
    with pytest.raises(Unknown):
        rows_by_number(images(["cat/10000.png"], held_out=True), TEN, held_out=True)
    assert rows_by_number(images(["cat/9999.png"], held_out=True), TEN, held_out=True) == {9999: 0}
    with pytest.raises(Unknown, match="0 to 49999"):
        rows_by_number(images(["cat/50000.png"]), TEN, held_out=False)


def test_run_without_the_split_is_unknown():
    with pytest.raises(Unknown, match=r"no held-out split \(named test"):
        rows_by_number(images(["cat/1.png"]), TEN, held_out=True)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("val/n01440764/ILSVRC2012_val_00000293.JPEG", 293),
        ("validation/0000-000003-ILSVRC2012_val_00000293_n01440764.JPEG", 293),
        ("val/n01440764/val_12.JPEG", None),
        ("val/n01440764/n01440764_293.JPEG", None),
        ("val/n01440764/ILSVRC2012_val_000002934.JPEG", None),
        ("val/n01440764/ILSVRC2012_test_00000293.JPEG", None),
    ],
)
def test_imagenet_numbers_come_from_its_own_names(name, number):
    with pytest.raises(Unknown) if number is None else nullcontext():
        assert rows_by_number(images([name], "n01440764", held_out=True), IMAGENET, held_out=True) == {number: 0}


def test_held_out_split_is_val_for_imagenet_and_test_for_cifar(written):
    run = written([(f"{split}/1.png", split, "cat") for split in ("train", "val", "Validation", "test", None, "dev")])
    found = images_of(run, IMAGENET)
    assert found.train.tolist() == [True, False, False, False, False, False]
    assert found.held_out.tolist() == [False, True, True, False, False, False]
    assert images_of(run, TEN).held_out.tolist() == [False, False, False, True, False, False]


def test_file_about_other_images_is_a_misfit():
    mine = images([f"{number}.png" for number in range(10)])
    labels = ["cat"] * 9 + ["dog"]
    require_fit([*range(10)], labels, mine, 0.9)
    with pytest.raises(Unknown, match="match 90% of its 10 images"):
        require_fit([*range(10)], labels, mine, 0.95)
    require_fit([*range(10)], [None] * 10, mine, 0.9)
    require_fit([], [], mine, 0.9)
