"""Explain one image: everything that a run knows about it, as data, text and saliency maps."""
