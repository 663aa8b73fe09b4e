"""Spread that a few strays do not move."""

MAD_TO_SIGMA = 1.4826
"""Median absolute deviation -> standard deviation, for a normal distribution (Iglewicz & Hoaglin 1993)."""
