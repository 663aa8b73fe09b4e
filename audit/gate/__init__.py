"""Two versions of a dataset beside each other: what changed, what is allowed to, and what pins one."""
