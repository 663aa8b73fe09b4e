"""A run directory: its record, tables and findings."""
