"""Fine-tuned folds on a small network: out-of-sample, resumable per fold, independent of the order of rows."""

import numpy as np
import pytest
import torch

from audit.errors import AuditError
from audit.predictions import finetune
from audit.predictions.finetune import FineTuning, fine_tune

SIDE, CLASSES = 16, 3


class Tower(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8)
        self.last = torch.nn.Linear(8 * 16, 12)

    def forward(self, pixels):
        layer = torch.relu(self.norm(self.first(pixels.permute(0, 3, 1, 2).float() / 255)))
        return self.last(torch.nn.functional.adaptive_avg_pool2d(layer, 4).flatten(1))


def work_of(labels, *, groups=None, seed=0):
    """Images whose color is their class, which differs from the label where it is wrong."""
    random = np.random.default_rng(1)
    truth = np.arange(len(labels)) % CLASSES
    pixels = random.integers(0, 80, (len(labels), SIDE, SIDE, 3), np.uint8)
    pixels[np.arange(len(labels)), :, :, truth] += 120
    return FineTuning(
        build=Tower,
        dimension=12,
        pixels=pixels,
        labels=labels.astype(np.int32),
        groups=np.arange(len(labels)) if groups is None else groups,
        usable=np.ones(len(labels), bool),
        images=np.array([f"{number * 7919 % 100_003:032x}".encode() for number in range(len(labels))]),
        seed=seed,
    )


class Watch:
    def __init__(self):
        self.notes, self.total, self.done = [], 0, 0

    def stage(self, name, total):
        self.total = total

    def advance(self, count):
        self.done += count

    def note(self, message):
        self.notes.append(message)


@pytest.fixture
def given():
    labels = np.arange(150) % CLASSES
    labels[[3, 40, 77]] = (labels[[3, 40, 77]] + 1) % CLASSES
    return labels


def test_wrong_labels_are_doubted(given, tmp_path):
    watch = Watch()
    found = fine_tune(work_of(given), tmp_path, "key", watch)
    assert found.probabilities.shape == (150, CLASSES)
    np.testing.assert_allclose(found.probabilities.sum(1), 1, atol=1e-5)
    of_given = found.probabilities[np.arange(150), given]
    assert of_given[[3, 40, 77]].max() < np.quantile(of_given, 0.1)
    assert found.record["method"] == "finetune"
    assert watch.done == watch.total > 0
    assert "fine-tuning 5 networks, up to 16 epochs at 16 px, on cpu: about" in watch.notes[0]


def test_no_network_sees_the_images_that_it_judges(given, tmp_path, monkeypatch):
    """Copies and groups are in the same fold, so they are not seen either."""
    groups = np.arange(150) // 5
    work, seen = work_of(given, groups=groups), {}
    real = finetune.train_fold

    def watched(work, rows, column, classes, epochs, number, advance):
        seen[number] = set(groups[rows])
        return real(work, rows, column, classes, 1, number, advance)

    monkeypatch.setattr(finetune, "train_fold", watched)
    found = fine_tune(work, tmp_path, "key", Watch())
    for number, trained in seen.items():
        assert not trained & set(groups[found.fold == number])
    held = finetune._held_out(groups, np.random.default_rng(0))
    assert held.any()
    assert not set(groups[held]) & set(groups[~held])


def test_resumes_at_the_next_fold(given, tmp_path, monkeypatch):
    whole = fine_tune(work_of(given), tmp_path / "whole", "key", Watch())
    trained = []
    real = finetune.train_fold

    def dying(*arguments):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(arguments[5])
        return real(*arguments)

    monkeypatch.setattr(finetune, "train_fold", dying)
    with pytest.raises(KeyboardInterrupt):
        fine_tune(work_of(given), tmp_path / "part", "key", Watch())
    monkeypatch.setattr(finetune, "train_fold", lambda *arguments: trained.append(arguments[5]) or real(*arguments))
    (tmp_path / "part" / "fold-1.npz").write_bytes(b"corrupt")
    again = fine_tune(work_of(given), tmp_path / "part", "key", Watch())
    assert trained == [0, 1, 1, 2, 3, 4]
    assert np.array_equal(again.probabilities, whole.probabilities)
    trained.clear()
    fine_tune(work_of(given, seed=1), tmp_path / "part", "another key", Watch())
    assert trained == [0, 1, 2, 3, 4]


def test_order_of_rows_and_names_of_classes_do_not_matter(given, tmp_path):
    work = work_of(given)
    one = fine_tune(work, tmp_path / "one", "key", Watch()).probabilities
    order = np.random.default_rng(2).permutation(150)
    renamed = np.array([2, 0, 1])
    changed = FineTuning(
        build=Tower,
        dimension=12,
        pixels=work.pixels[order],
        labels=renamed[given][order].astype(np.int32),
        groups=work.groups[::-1][order],  # numbered otherwise
        usable=work.usable[order],
        images=work.images[order],
    )
    other = fine_tune(changed, tmp_path / "other", "key", Watch()).probabilities
    np.testing.assert_allclose(other[:, renamed], one[order], atol=1e-5)


def test_images_without_a_label_or_that_cannot_be_read(given, tmp_path):
    labels = given.copy()
    labels[:10] = -1
    work = work_of(labels)
    work.usable[149] = False
    found = fine_tune(work, tmp_path, "key", Watch()).probabilities
    np.testing.assert_allclose(found[:149].sum(1), 1, atol=1e-5)
    assert np.isnan(found[149]).all()


def test_refuses_a_backbone_without_weights(given, tmp_path):
    work = work_of(given)
    bare = FineTuning(**{name: getattr(work, name) for name in work.__dataclass_fields__} | {"build": torch.nn.Identity})
    with pytest.raises(AuditError, match="has no weights that can be trained"):
        fine_tune(bare, tmp_path, "key", Watch())


def test_mixture_prefers_what_predicts_the_labels():
    labels = np.arange(90, dtype=np.int32) % CLASSES
    good = np.full((90, CLASSES), 0.05, np.float32)
    good[np.arange(90), labels] = 0.9
    none = np.full((90, CLASSES), 1 / CLASSES, np.float32)
    rows = np.arange(90)
    assert finetune.best_mixture(good, none, labels, rows) == 1
    assert finetune.best_mixture(none, good, labels, rows) == 0
    one, other = good.copy(), good.copy()
    one[:45], other[45:] = none[:45], none[45:]
    assert 0.3 < finetune.best_mixture(one, other, labels, rows) < 0.7


def test_rare_classes_weigh_more():
    weight = finetune._class_weights(np.repeat([0, 1], [100, 4]), 3)
    assert weight[1] == pytest.approx(min(5 * weight[0], 4), rel=0.01)
    assert weight[2] == 0
