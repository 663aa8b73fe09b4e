"""How far apart two classes lie in a taxonomy: it separates a fine-grained slip (two breeds of dog) from a gross one (a dog and a bus)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

FINE_GRAINED = 0.8
"""Two classes are close relatives from this similarity: of random pairs of ImageNet-1k's classes 98% are further apart. Two cats have 0.90, a cat and
a dog 0.73, a dog and a minivan 0.33. Not measured on people's judgments."""


@dataclass(frozen=True, slots=True)
class Kinship:
    """What two classes have in common."""

    ancestor: str
    """Their nearest common ancestor."""
    steps: int
    """Edges from the one through the ancestor to the other."""
    similarity: float
    """0..1: twice the ancestor's depth over the sum of both classes' depths through it, the root's depth being 1 (Wu & Palmer 1994)."""


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """The part of a taxonomy that lies above some classes."""

    parents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of every node; a node may have several, a root has none."""
    words: Mapping[str, str] = field(default_factory=dict)
    """Of nodes that are codes."""
    source: str = ""
    """Where it was read."""

    def kinship(self, first: str, second: str) -> Kinship | None:
        """Return how two classes are related; None where one is not in the taxonomy or they have no common ancestor."""
        if first not in self.parents or second not in self.parents:
            return None
        above, other = self._above(first), self._above(second)
        common = [(above[node] + other[node], -self._depth(node), node) for node in above.keys() & other.keys()]
        if not common:
            return None
        steps, negative, node = min(common)
        return Kinship(node, steps, 2 * -negative / (steps + 2 * -negative))

    def evidence(self, first: str, second: str) -> dict[str, object]:
        """Return what a finding shows of two classes' kinship, as JSON values under ``taxonomy``; nothing where it is not known."""
        found = self.kinship(first, second)
        if found is None:
            return {}
        slip = "fine_grained" if found.similarity >= FINE_GRAINED else "gross"
        return {"taxonomy": {"common": self.name(found.ancestor), "steps": found.steps, "similarity": round(found.similarity, 3), "slip": slip}}

    def pruned(self, classes: set[str]) -> Taxonomy:
        """Return what lies above some classes and no more."""
        kept = sorted({node for name in classes if name in self.parents for node in self._above(name)})
        parents = {node: self.parents[node] for node in kept if node in self.parents}
        return Taxonomy(parents, {node: self.words[node] for node in kept if node in self.words}, self.source)

    def name(self, node: str) -> str:
        """Return a node as a person would call it: its first word, or itself."""
        return self.words.get(node, node).split(",")[0]

    def _above(self, node: str) -> dict[str, int]:
        """Every ancestor and the fewest steps to it; the node itself at 0."""
        steps, level = {node: 0}, [node]
        while level:
            above = {parent: steps[child] + 1 for child in level for parent in self.parents.get(child, ()) if parent not in steps}
            steps |= above
            level = list(above)
        return steps

    def _depth(self, node: str) -> int:
        """Nodes on the shortest way to a root, both included."""
        return 1 + min((steps for above, steps in self._above(node).items() if not self.parents.get(above)), default=0)
