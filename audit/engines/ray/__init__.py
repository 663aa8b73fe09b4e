"""The Ray engine: spread a scan over the machines of a cluster."""
