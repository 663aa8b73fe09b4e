"""Explain one image: everything a run knows about it, as data, text and saliency maps."""
