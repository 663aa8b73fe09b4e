"""A scan as a list of stages, each skipped while its inputs are unchanged."""
