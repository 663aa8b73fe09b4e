"""Out-of-sample class probabilities: from cross-validated models, or supplied by the user."""
