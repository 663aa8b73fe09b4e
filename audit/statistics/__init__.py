"""Statistical methods shared by several checks."""
