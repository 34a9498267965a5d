"""Debian: apt configuration, archive signatures, packages, versions, the resolver, the lock.

What would be true of any use of Debian's packages belongs here; what an image is made of them does
not. Below is `npm_registry`.
"""
