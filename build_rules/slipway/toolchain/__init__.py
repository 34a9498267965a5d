"""Toolchain images as targets: assembled from packages or ready-made, contract tests, and locks.

Code that creates the root file system of steps belongs here. The room below is `step`.
"""
