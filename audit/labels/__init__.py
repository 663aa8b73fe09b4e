"""What is known of labels: out-of-sample predictions, how labels go wrong, and what correcting them does."""
