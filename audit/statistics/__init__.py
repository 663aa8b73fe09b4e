"""Statistical methods that several checks share."""
