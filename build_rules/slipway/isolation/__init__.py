"""Isolation of build steps: namespaces, Docker, chroot, inside; unpacked trees, limits, the guard.

Code that runs around or beside a step's command belongs here; each isolator has its own module.
The room below is `abi`.
"""
