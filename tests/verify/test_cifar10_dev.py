"""``verify`` from end to end on a part of CIFAR-10; the printed numbers are counted again from the same files."""

import json
import tarfile
from pathlib import Path

import pandas as pd
import pytest
import torch

import audit
from audit.cli import invoke
from audit.verify.datasets import find_dataset

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
TAR, LISTED, HUMAN = DATA / "cifar10-dev.tar", DATA / "cifar10-duplicates-dev.csv", DATA / "cifar10-human-labels-dev.csv"
VOTES = DATA / "label-errors-cifar10" / "human_votes.csv"
MORE = 80
"""Train images per class besides those in the files; fewer are not enough to judge labels."""

pytestmark = [pytest.mark.slow, pytest.mark.shared_data, pytest.mark.skipif(not TAR.is_file(), reason=f"{TAR} is not here")]


@pytest.fixture(scope="module")
def images():
    """Map split and number to class, for the images in the files and some more."""
    pairs, votes = pd.read_csv(LISTED), pd.read_csv(VOTES)
    named = {("test", int(number)) for number in [*pairs["test_index"], *votes["index"]]} | {
        ("train", int(number)) for number in pairs["train_index"]
    }
    chosen, more = {}, dict.fromkeys(find_dataset("cifar-10").classes, 0)
    with tarfile.open(TAR) as archive:
        for name in sorted(archive.getnames()):
            split, label, file = (name.split("/") + [""] * 3)[1:4]
            if not file:
                continue
            image = split, int(Path(file).stem)
            if image in named or (split == "train" and more[label] < MORE):
                more[label] += split == "train" and image not in named
                chosen[image] = label
    return chosen


@pytest.fixture(scope="module")
def run(tmp_path_factory, images):
    folder = tmp_path_factory.mktemp("cifar10")
    with tarfile.open(TAR) as archive:
        for member in archive:
            split, label, file = (member.name.split("/") + [""] * 3)[1:4]
            if file and (split, int(Path(file).stem)) in images:
                path = folder / "data" / split / label / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.extractfile(member).read())
    options = audit.ScanOptions(backbone="embedded", device="cpu", offline=True, only=("leakage", "label_errors"))
    return audit.scan(folder / "data", folder / "run", options=options)


def verified(run, capsys, **files):
    labels = [argument for key, path in files.items() for argument in ("--labels", f"{key}={path}")]
    assert invoke(["verify", str(run.path), "--json", *labels]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["dataset"] == "cifar-10"
    return [fact["found"] for fact in printed["facts"]]


def test_printed_numbers_match_the_files(run, images, capsys):
    listed, disagree, flagged, confirmed = verified(run, capsys, duplicates=LISTED, human=HUMAN, mturk=VOTES)

    pairs = pd.read_csv(LISTED).query("verdict == 'duplicate'")
    found, here = (int(word) for word in listed.split(" in the run")[0].split(" of "))
    assert here == len(pairs)
    assert found >= 0.8 * here  # 85% were measured on all 30,000 images

    reported = set(run.findings.loc[run.findings["check"] == "label_errors", "sample_id"])
    human = pd.read_csv(HUMAN)
    human = human[[("train", number) in images for number in human["index"]]]
    other = human[human["clean_label"] != human["aggre_label"]]
    assert disagree == pytest.approx(len(other) / len(human), abs=1e-4)
    assert 0.05 < disagree < 0.15
    names = {f"train/{label}/{number:05}.jpg" for label, number in zip(other["clean_label"], other["index"], strict=True)}
    assert flagged == f"{len(names & reported)} of {len(other)}"

    votes = pd.read_csv(VOTES).query("given < 3")
    names = {f"test/{images['test', number]}/{number:05}.jpg" for number in votes["index"] if ("test", number) in images}
    assert confirmed == f"{len(names & reported)} of {len(names)} in the run reported (54 confirmed)"
    assert len(names) > 20


def test_published_formats_give_the_same_numbers(run, tmp_path, capsys):
    classes = {name: number for number, name in enumerate(find_dataset("cifar-10").classes)}
    pairs, human, votes = pd.read_csv(LISTED), pd.read_csv(HUMAN), pd.read_csv(VOTES)
    judged = pairs["verdict"].map({"duplicate": 1, "different": 2, "unsure": 2})
    published = pd.DataFrame({"TestID": pairs["test_index"], "TrainID": pairs["train_index"], "Distance": 0.1, "Judgment": judged})
    published.to_csv(tmp_path / "duplicates_cifar10.csv", index=False)
    whole = human.set_index("index").reindex(range(50_000))[["clean_label", "aggre_label"]]
    arrays = {name: whole[name].map(classes).fillna(0).astype("int64").to_numpy() for name in whole}
    torch.save(arrays, tmp_path / "CIFAR-10_human.pt")
    entries = [
        {"id": row["index"], "given_original_label": classes[row["given_label"]], "mturk": {name: row[name] for name in ("given", "guessed")}}
        for row in votes.to_dict("records")
    ]
    (tmp_path / "cifar10_mturk.json").write_text(json.dumps(entries))
    ours = verified(run, capsys, duplicates=LISTED, human=HUMAN, mturk=VOTES)
    theirs = {"duplicates": "duplicates_cifar10.csv", "human": "CIFAR-10_human.pt", "mturk": "cifar10_mturk.json"}
    assert verified(run, capsys, **{key: tmp_path / name for key, name in theirs.items()}) == ours


def test_images_in_another_order_are_not_compared(run, tmp_path, capsys):
    human = pd.read_csv(HUMAN)
    human["index"] = human["index"].sample(frac=1, random_state=0).to_numpy()
    human.to_csv(tmp_path / "human.csv", index=False)
    assert verified(run, capsys, human=tmp_path / "human.csv") == [None] * 4
