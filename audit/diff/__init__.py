"""Compare two versions of a dataset: images, labels, findings and distributions."""
