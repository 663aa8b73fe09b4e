"""Find images that are copies of each other: candidates, alignment, verification, groups."""
