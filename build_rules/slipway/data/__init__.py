"""The data files that Slipway brings: locks, policies and definitions, read with `bundled`.

Only data and its lookup belong here; there is no room below. A file with the same name in the
workspace takes precedence: see `core/rules/provided_files.py`.
"""
