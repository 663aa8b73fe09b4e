"""Check a run against a policy and report the verdict, for people and for CI hosts."""
