"""Decide which images are copies of each other: candidates, alignment, verification, groups."""
