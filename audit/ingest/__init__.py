"""Read every image once: list, read, decode, measure and embed, and resume after a crash."""
