"""The runner: creates the environment of Pants before Pants can run.

The script `pants` at the top of the repository starts `bootstrap`. These modules import nothing
else of Slipway, and no other room imports them: there is no room below.
"""
