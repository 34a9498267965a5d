"""How a step is shut in: namespaces, docker, chroot, inside; unpacked trees, limits, the guard.

What runs around or beside a step's command belongs here, and each isolator in a module of its own.
Below is `abi`.
"""
