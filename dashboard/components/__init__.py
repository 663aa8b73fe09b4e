"""Parts that the pages share: the queue of findings, filters, the grid and single view, images, charts and safe text."""
