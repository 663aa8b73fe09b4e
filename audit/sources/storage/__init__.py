"""Files and archives as a dataset stores them: local folders, URLs, tars, gzip."""
