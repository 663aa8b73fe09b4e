"""Check a run against a policy and report the verdict to the tools that gate a dataset version."""
