"""Judge given labels by out-of-sample predictions, and describe label noise, confusion and conflicts."""
