"""Releases: one tarball and its manifest from layers; smoke tests, runs, other Nodes, ABI audits.

Code that defines or checks the properties of a release belongs here. The room below is `bundle`.
"""
