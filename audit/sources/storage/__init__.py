"""Access to stored files: local folders, URLs, tars, gzip."""
