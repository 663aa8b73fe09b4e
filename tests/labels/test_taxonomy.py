import hypothesis.strategies as st
from hypothesis import given, settings

from audit.taxonomy import Taxonomy

ANIMALS = Taxonomy(
    {
        "husky": ("dog",),
        "beagle": ("dog",),
        "dog": ("animal",),
        "robin": ("bird",),
        "bird": ("animal",),
        "animal": ("thing",),
        "bus": ("thing",),
        "thing": (),
    },
    {"dog": "dog, domestic dog"},
)


def test_nearest_common_ancestor_and_wu_palmer_similarity():
    found = ANIMALS.kinship("husky", "beagle")
    assert (found.ancestor, found.steps, found.similarity) == ("dog", 2, 2 * 3 / (4 + 4))
    assert ANIMALS.kinship("husky", "robin").ancestor == "animal"
    assert ANIMALS.kinship("husky", "bus").similarity == 2 * 1 / (4 + 2)


def test_ancestor_of_nested_classes():
    assert (ANIMALS.kinship("husky", "dog").ancestor, ANIMALS.kinship("husky", "dog").steps) == ("dog", 1)


def test_evidence_contains_the_kind_of_error():
    assert ANIMALS.evidence("husky", "bus")["taxonomy"]["slip"] == "gross"
    assert Taxonomy({"a": ("c",), "b": ("c",), "c": ("d",), "d": ("e",), "e": ("f",)}).evidence("a", "b")["taxonomy"]["slip"] == "fine_grained"
    assert ANIMALS.evidence("husky", "beagle")["taxonomy"]["common"] == "dog"
    assert ANIMALS.evidence("husky", "unheard of") == {}


def test_unrelated_trees_have_no_kinship():
    assert Taxonomy({"a": ("b",), "c": ("d",)}).kinship("a", "c") is None


def test_shortest_path_through_several_parents_counts():
    found = Taxonomy({"a": ("x", "p"), "b": ("q",), "q": ("p",), "x": ("y",), "y": ("p",), "p": ("root",)}).kinship("a", "b")
    assert (found.ancestor, found.steps) == ("p", 3)


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), min_size=2, max_size=30), st.data())
def test_kinship_is_symmetric_bounded_and_survives_pruning(ups, data):
    parents = {str(at + 1): (str(up % (at + 1)),) for at, up in enumerate(ups)}
    first, second = (data.draw(st.sampled_from(sorted(parents))) for _ in range(2))
    tree = Taxonomy(parents)
    found = tree.kinship(first, second)
    assert found == tree.kinship(second, first) == tree.pruned({first, second}).kinship(first, second)
    assert 0 < found.similarity <= 1
    assert (found.similarity == 1) == (first == second) == (found.steps == 0)
