"""What Slipway brings beside code: locks, policies and definitions, read by `bundled`.

Nothing but data and its look-up belongs here; there is no room below. A file of the workspace with
the same name wins: see `core/rules/provided_files.py`.
"""
