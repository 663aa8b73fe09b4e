"""A finished run as text and files: one module per format, ``(Run) -> str``; the numbers come from `reports.summary`."""
