"""npm lockfiles and the fetch lock beside them, read and compared by npm's rules."""
