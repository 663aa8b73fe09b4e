"""Out-of-sample class probabilities: cross-validated models, or predictions that the user supplies."""
