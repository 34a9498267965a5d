"""Code that every room shares: errors, JSON with positions, text tables, named targets.

A module belongs here if two rooms need it and it does not depend on any subject of Slipway.
The room below is `data`.
"""
