"""Decode and measure one image; read its metadata; crop previews. Works on bytes and pixels, never on tables."""
