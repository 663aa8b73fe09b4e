"""Published numbers, written down a second time to catch typing errors."""

import pytest

from audit.errors import ConfigError
from audit.verify.datasets import find_dataset
from audit.verify.facts import DATASETS, published_facts

KISEL, NORTHCUTT, BEYER, LI = "arXiv:2412.00076", "arXiv:2103.14749", "arXiv:2006.07159", "arXiv:2212.04825"
BARZ, WEI = "arXiv:1902.00423", "arXiv:2110.12088"

PUBLISHED = {
    "imagenet-1k": {
        "exact_val_train": ("797", "pairs", KISEL),
        "exact_val_train_other": ("797", "pairs", KISEL),
        "exact_val_val": ("29", "pairs", KISEL),
        "exact_train": ("5836", "pairs", KISEL),
        "near_val_groups": ("26", "pairs", KISEL),
        "near_val_images": ("69", "pairs", KISEL),
        "near_cross_val": ("269", "pairs", KISEL),
        "near_cross_train": ("400", "pairs", KISEL),
        "confirmed_errors": ("2916", "mturk", NORTHCUTT),
        "real_none": ("3163", "real", BEYER),
        "real_several": ("7443", "real", BEYER),
        "real_rejected": ("4673", "real", BEYER),
        "overlap:n04355933+n04356056": ("1", "class_overlap", KISEL),
        "overlap:n03642806+n03832673": ("1", "class_overlap", KISEL),
        "overlap:n03710637+n03710721": ("1", "class_overlap", BEYER),
        "overlap:n03782006+n04152593": ("1", "class_overlap", KISEL),
        "overlap:n09421951+n09428293": ("1", "class_overlap", BEYER),
        "class:n02971356:marks": ("1", "marks", LI),
        "class:n02951358:split_shift": ("1", "split_shift", KISEL),
    },
    "cifar-10": {
        "listed_pairs": ("262", "duplicates", BARZ),
        "human_disagree": ("0.0903", "human", WEI),
        "human_flagged": ("few", "human", WEI),
        "confirmed_errors": ("54", "mturk", NORTHCUTT),
    },
    "cifar-100": {
        "listed_pairs": ("<891", "duplicates", BARZ),
        "human_disagree": ("0.4020", "human", WEI),
        "human_flagged": ("few", "human", WEI),
        "confirmed_errors": ("585", "mturk", NORTHCUTT),
    },
}
CANDIDATES = {"imagenet-1k": "5440", "cifar-10": "275", "cifar-100": "2235"}


@pytest.mark.parametrize("name", DATASETS)
def test_published_facts_match_the_papers(name):
    facts = published_facts(name)
    found = {fact.key: (fact.expected, fact.needs, fact.source.rpartition(" ")[2]) for fact in facts}
    assert found == PUBLISHED[name]
    assert len(facts) == len(found)
    (confirmed,) = [fact for fact in facts if fact.key == "confirmed_errors"]
    assert f"of {CANDIDATES[name]} candidates" in confirmed.what


def test_classes_of_facts_are_classes_of_the_dataset():
    classes = set(find_dataset("imagenet-1k").classes)
    for fact in published_facts("imagenet-1k"):
        if ":" in fact.key:
            assert set(fact.key.split(":")[1].split("+")) <= classes


def test_refuses_dataset_without_facts():
    for find in (published_facts, find_dataset):
        with pytest.raises(ConfigError, match="did you mean 'cifar-10"):
            find("cifar10")
