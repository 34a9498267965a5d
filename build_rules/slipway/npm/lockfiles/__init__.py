"""npm's locks and the fetch lock beside them, read and compared as npm does."""
