"""Read and write files, terminals and plug-ins. Nothing here knows about datasets."""
