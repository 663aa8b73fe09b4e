"""Content that the formats share: numbers of a run, images, evidence and wording."""
