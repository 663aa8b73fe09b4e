"""A scan as a list of stages, each done once and skipped while its inputs stay the same."""
