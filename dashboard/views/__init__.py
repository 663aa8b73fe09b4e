"""One module per page; each draws itself from a run by its ``show``."""
