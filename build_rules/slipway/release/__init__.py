"""Releases: layers to one tarball with its manifest; smoke tests, runs, other Nodes, ABI audits.

What a release promises and how that is checked belongs here. Below is `bundle`.
"""
