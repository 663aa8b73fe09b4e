"""Evaluate given labels with out-of-sample predictions: label noise, confusion and conflicts."""
