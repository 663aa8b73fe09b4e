"""The Ray engine: distribute a scan over a cluster."""
