"""What the formats print: the numbers of a run, pictures, evidence and words."""
