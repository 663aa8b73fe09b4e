"""A finished run: its folder, record, tables and findings."""
