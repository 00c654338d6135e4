"""Files: weights on disk and run folders."""
