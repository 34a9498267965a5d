"""Debian: apt configuration, archive signatures, packages, versions, the resolver, the lock.

Code that is useful for any use of Debian packages belongs here; code about images does not.
The room below is `npm_registry`.
"""
