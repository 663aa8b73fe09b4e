"""One module per page; its ``show`` draws the page of a run."""
