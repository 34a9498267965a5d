"""Toolchain images as targets: assembled or ready-made, with contract tests and locks.

What makes the root file system of steps belongs here. Below is `step`.
"""
