"""Distance of two classes in a taxonomy: it separates fine-grained errors (two breeds of dog) from gross ones (a dog and a bus)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

FINE_GRAINED = 0.8
"""Similarity from which an error is fine-grained: 98% of random pairs of ImageNet-1k's classes are below it. Two cats have 0.90, a cat and a dog
0.73, a dog and a minivan 0.33. Not calibrated on human judgments."""


@dataclass(frozen=True, slots=True)
class Kinship:
    """Relation of two classes in a taxonomy."""

    ancestor: str
    """Nearest common ancestor."""
    steps: int
    """Edges on the path between the classes through the ancestor."""
    similarity: float
    """0..1: twice the ancestor's depth over the sum of both classes' depths through it, the root's depth being 1 (Wu & Palmer 1994)."""


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """The ancestors of some classes in a taxonomy."""

    parents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Parents of every node; a node may have several, a root has none."""
    words: Mapping[str, str] = field(default_factory=dict)
    """Words of nodes that are codes."""
    source: str = ""
    """File or package it was read from."""

    def kinship(self, first: str, second: str) -> Kinship | None:
        """Return the relation of two classes; None if one is not in the taxonomy or they have no common ancestor."""
        if first not in self.parents or second not in self.parents:
            return None
        above, other = self._above(first), self._above(second)
        common = [(above[node] + other[node], -self._depth(node), node) for node in above.keys() & other.keys()]
        if not common:
            return None
        steps, negative, node = min(common)
        return Kinship(node, steps, 2 * -negative / (steps + 2 * -negative))

    def evidence(self, first: str, second: str) -> dict[str, object]:
        """Return the relation of two classes as evidence of a finding: JSON values under ``taxonomy``, empty if unknown."""
        found = self.kinship(first, second)
        if found is None:
            return {}
        slip = "fine_grained" if found.similarity >= FINE_GRAINED else "gross"
        return {"taxonomy": {"common": self.name(found.ancestor), "steps": found.steps, "similarity": round(found.similarity, 3), "slip": slip}}

    def pruned(self, classes: set[str]) -> Taxonomy:
        """Return the taxonomy reduced to some classes and their ancestors."""
        kept = sorted({node for name in classes if name in self.parents for node in self._above(name)})
        parents = {node: self.parents[node] for node in kept if node in self.parents}
        return Taxonomy(parents, {node: self.words[node] for node in kept if node in self.words}, self.source)

    def name(self, node: str) -> str:
        """Return a node's first word, or the node itself."""
        return self.words.get(node, node).split(",")[0]

    def _above(self, node: str) -> dict[str, int]:
        """Return every ancestor with the fewest steps to it; the node itself at 0."""
        steps, level = {node: 0}, [node]
        while level:
            above = {parent: steps[child] + 1 for child in level for parent in self.parents.get(child, ()) if parent not in steps}
            steps |= above
            level = list(above)
        return steps

    def _depth(self, node: str) -> int:
        """Return the number of nodes on the shortest path to a root, both included."""
        return 1 + min((steps for above, steps in self._above(node).items() if not self.parents.get(above)), default=0)
