"""What every room shares: errors and messages, JSON with positions, text tables, named targets.

A module belongs here if it is about no subject of Slipway's at all, and two rooms need it.
Below is `data`.
"""
