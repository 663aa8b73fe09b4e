import json

import numpy as np
import pytest
from scipy.io import savemat

from audit.errors import SourceError
from audit.sources.annotations.taxonomy_files import find_taxonomy, read_taxonomy

TENCH, GOLDFISH, CYPRINID, FISH = "n01440764", "n01443537", "n01439121", "n01428580"
DATA_NOUN = f"""  1 This software and database is being provided to you
{FISH[1:]} 05 n 02 fish 0 soft-finned_fish 0 002 ~ {CYPRINID[1:]} n 0000 #m 00000001 n 0000 | any of various fishes
{CYPRINID[1:]} 05 n 02 cyprinid 0 cyprinid_fish 0 002 @ {FISH[1:]} n 0000 ~ {TENCH[1:]} n 0000 | soft-finned | mainly freshwater
{TENCH[1:]} 05 n 02 tench 0 Tinca_tinca 0 001 @ {CYPRINID[1:]} n 0000 | freshwater dace-like
{GOLDFISH[1:]} 05 n 02 goldfish 0 Carassius_auratus 0 001 @i {CYPRINID[1:]} n 0000 | small golden
"""


def written(folder, name, text):
    (folder / name).write_text(text)
    return folder / name


def devkit(folder):
    rows = [
        (1, TENCH, "tench, Tinca tinca", [], 0),
        (2, GOLDFISH, "goldfish", [], 0),
        (3, CYPRINID, "cyprinid", [1, 2], 2),
        (4, FISH, "fish", [3], 1),
    ]
    kinds = [("ILSVRC2012_ID", object), ("WNID", object), ("words", object), ("children", object), ("num_children", object)]
    savemat(folder / "meta.mat", {"synsets": np.array(rows, dtype=kinds)})
    return folder / "meta.mat"


def every_format(folder):
    yield written(folder, "data.noun", DATA_NOUN)
    yield written(folder, "wordnet.is_a.txt", f"{FISH} {CYPRINID}\n{CYPRINID} {TENCH}\n\n{CYPRINID} {GOLDFISH}\n")
    yield written(folder, "mine.json", json.dumps({TENCH: CYPRINID, GOLDFISH: [CYPRINID], CYPRINID: FISH}))
    yield devkit(folder)


def test_all_formats_are_equivalent(tmp_path):
    for path in every_format(tmp_path):
        found = read_taxonomy(path)
        assert found.kinship(TENCH, GOLDFISH).ancestor == CYPRINID, path.name
        assert found.kinship(TENCH, FISH).steps == 2, path.name
    assert read_taxonomy(tmp_path / "data.noun").words[TENCH] == "tench, Tinca tinca"
    assert read_taxonomy(tmp_path / "meta.mat").name(CYPRINID) == "cyprinid"


def test_finds_taxonomy_next_to_synset_dataset_and_prunes_it(tmp_path):
    devkit(tmp_path)
    (tmp_path / "train").mkdir()
    found = find_taxonomy(None, str(tmp_path / "train"), {TENCH})
    assert set(found.parents) == {TENCH, CYPRINID, FISH}
    assert found.source.endswith("meta.mat")
    assert not find_taxonomy(None, str(tmp_path), {"cat", "dog"}).parents


def test_skips_corrupt_file_next_to_the_dataset(tmp_path):
    written(tmp_path, "meta.mat", "no matlab")
    assert "meta.mat" not in find_taxonomy(None, str(tmp_path), {TENCH}).source


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.json", '{"cat": 3}', "is not a valid taxonomy"),
        ("a.json", "{", "is not a valid taxonomy"),
        ("a.txt", "animal cat\nanimal big dog\n", "line 2"),
        ("data.noun", "not a database\n", "is not a valid taxonomy"),
        ("a.json", '{"cat": "dog", "dog": "cat"}', "contains a cycle"),
        ("a.json", '{"bus": "vehicle"}', "none of the dataset's classes"),
    ],
)
def test_refuses_invalid_user_file(tmp_path, name, text, problem):
    with pytest.raises(SourceError, match=problem):
        find_taxonomy(str(written(tmp_path, name, text)), str(tmp_path), {"cat", "dog"})


def test_refuses_missing_user_file(tmp_path):
    with pytest.raises(SourceError, match="cannot be read"):
        find_taxonomy(str(tmp_path / "none.json"), str(tmp_path), {"cat"})
