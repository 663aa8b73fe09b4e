import pytest

from audit.errors import ConfigError
from audit.verify import datasets
from audit.verify.datasets import find_dataset, recognise

CIFAR_10, CIFAR_100, IMAGENET = (list(find_dataset(name).classes) for name in ("cifar-10", "cifar-100", "imagenet-1k"))


def test_class_numbers_follow_the_published_order():
    # As the published votes give them: number and name of one image's own label.
    assert {name: CIFAR_10.index(name) for name in ("airplane", "automobile", "cat", "deer", "truck")} == {
        "airplane": 0,
        "automobile": 1,
        "cat": 3,
        "deer": 4,
        "truck": 9,
    }
    numbers = {"bicycle": 8, "crocodile": 27, "lamp": 40, "otter": 55, "pine_tree": 59, "shrew": 74, "television": 87, "woman": 98, "worm": 99}
    assert {name: CIFAR_100.index(name) for name in numbers} == numbers
    assert len(CIFAR_100) == 100
    numbers = {"n01440764": 0, "n01443537": 1, "n01484850": 2, "n01514668": 7}
    assert {name: IMAGENET.index(name) for name in numbers} == numbers


@pytest.mark.parametrize("name", ["cifar-10", "cifar-100", "imagenet-1k"])
def test_recognises_dataset_by_all_its_labels(name):
    assert recognise(find_dataset(name).classes) == name


def test_recognises_part_of_imagenet():
    assert recognise(CIFAR_10[2:]) == "cifar-10"
    assert recognise(["crab_", *CIFAR_100[1:]]) == "cifar-100"
    assert recognise(["n01440764", "n02951358"]) == "imagenet-1k"


@pytest.mark.parametrize(
    "labels",
    [
        [],
        ["cat", "dog"],
        CIFAR_10[:7],
        [*CIFAR_10, "horse-drawn carriage", "tram", "bus", "bike"],
        ["aquarium_fish", "lawn_mower", "pickup_truck", "sweet_pepper", "willow_tree", "bee"],
        ["tench", "goldfish", "lemon"],
        ["n01440764", "n00007846"],
        [str(number) for number in range(10)],
    ],
)
def test_common_labels_match_no_dataset(labels):
    assert recognise(labels) is None


def test_recognises_imagenet_by_words():
    words = datasets.parse_words(datasets.timm_list("imagenet_synset_to_lemma.txt"))
    assert recognise([words[name] for name in IMAGENET]) == "imagenet-1k"
    assert recognise([words[name].partition(",")[0] for name in IMAGENET]) == "imagenet-1k"


def test_words_shared_by_two_classes_match_neither():
    class_of = find_dataset("imagenet-1k").class_of
    assert class_of("tench, Tinca tinca") == class_of("Tench") == "n01440764"
    assert (class_of("maillot"), class_of("maillot, tank suit")) == ("n03710637", "n03710721")
    assert (class_of("sunglass"), class_of("sunglasses, dark glasses, shades")) == ("n04355933", "n04356056")
    assert class_of("crane") is None
    assert class_of(None) is None


def test_labels_match_with_any_separator():
    assert find_dataset("cifar-100").class_of("Aquarium fish") == "aquarium_fish"


def test_timm_without_class_list_is_an_error(monkeypatch):
    monkeypatch.setattr(datasets, "timm_list", lambda name: "")
    datasets._imagenet.cache_clear()
    try:
        with pytest.raises(ConfigError, match="timm"):
            find_dataset("imagenet-1k")
    finally:
        datasets._imagenet.cache_clear()
