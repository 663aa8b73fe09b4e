"""The datasets with published facts: their classes in the published order, the names of their splits, the numbering of their images."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from audit.errors import ConfigError, nearest
from audit.sources.annotations.class_words import parse_words, timm_list
from audit.verify.facts import DATASETS

TRAIN = frozenset({"train", "training", "train_set", "trainset"})
_VAL = frozenset({"val", "valid", "validation", "val_set", "valset"})
_TEST = frozenset({"test", "testing", "test_set", "testset"})
_SYNSET = re.compile(r"n\d{8}")

_MOST = 0.8
"""Share of a dataset's classes a run needs to be recognised: many datasets have a cat and a dog, hardly another has eight of these ten."""

_CIFAR_10 = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR_100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle caterpillar cattle chair chimpanzee
clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower
leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain
plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower
sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Conventions of a dataset that public label files rely on."""

    classes: tuple[str, ...]
    """Classes in the order in which label files number them."""
    held_out: frozenset[str]
    """Names, in lower case, of the split that the papers call val or test."""
    numbered: re.Pattern[str]
    """Pattern searched in the stem of an image's file name; the first group is the image's number."""
    train_numbers: range
    held_out_numbers: range
    _by_name: Mapping[str, str]

    def class_of(self, label: object) -> str | None:
        """Return the class of a label: the class's name, or words that mean no other class; None if it is not a class of the dataset."""
        return self._by_name.get(_plain(label)) if isinstance(label, str) else None


def find_dataset(name: str) -> Dataset:
    """Return a dataset by name. Raises ConfigError if the name is unknown."""
    if name not in DATASETS:
        raise ConfigError("--dataset", f"no published facts about {name!r}", nearest(name, DATASETS))
    return _imagenet() if name == "imagenet-1k" else _cifar(_CIFAR_10 if name == "cifar-10" else _CIFAR_100)


def recognise(labels: Iterable[str]) -> str | None:
    """Return the name of the dataset that a run's labels belong to; None if there is none, or the labels are too small a part of it.

    A small part of ImageNet-1k's synsets is enough: hardly any other dataset uses such names.
    """
    names = set(labels)
    for name in sorted(DATASETS):
        dataset = find_dataset(name)
        found = [dataset.class_of(label) for label in names]
        known, unknown = len({*found} - {None}), found.count(None)
        part = bool(names) and all(map(_SYNSET.fullmatch, names)) and not unknown
        if part or known >= _MOST * (len(dataset.classes) + unknown):
            return name
    return None


@cache
def _cifar(names: str) -> Dataset:
    classes = tuple(names.split())
    # Only these names contain the original number; the batches' own file names (camel_s_000148.png) restart in each class.
    numbered = re.compile(r"^(?:(?:train|test|image|img)[_-]?)*(\d+)$", re.IGNORECASE)
    return Dataset(classes, _TEST, numbered, range(50_000), range(10_000), _by_name({name: name for name in classes}))


@cache
def _imagenet() -> Dataset:
    classes = tuple(timm_list("imagenet_synsets.txt").split())
    if len(classes) != 1000:
        raise ConfigError("timm", "the installed release has no list of ImageNet-1k's classes", "install timm 1.0 or later")
    words = parse_words(timm_list("imagenet_synset_to_lemma.txt"))
    by_name = _by_name({name: words.get(name, name) for name in classes})
    return Dataset(classes, _VAL, re.compile(r"ILSVRC2012_val_(\d{8})(?!\d)", re.IGNORECASE), range(0), range(1, 50_001), by_name)


def _by_name(words: Mapping[str, str]) -> dict[str, str]:
    """Map class names, all words of a class, and its first word to the class; words shared by two classes ("crane") are left out."""
    found: dict[str, str] = {}
    for keys in (
        {name: _plain(name) for name in words},
        {name: _plain(text) for name, text in words.items()},
        {name: _plain(text.partition(",")[0]) for name, text in words.items()},
    ):
        shared = Counter(keys.values())
        for name, key in keys.items():
            if shared[key] == 1:
                found.setdefault(key, name)
    return found


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
