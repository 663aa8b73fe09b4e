"""Search the nearest neighbors of every embedding with FAISS."""
