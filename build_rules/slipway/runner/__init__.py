"""The runner: what makes the environment of Pants, before there is a Pants.

`pants` at the top of the repository starts `bootstrap`. Nothing else of Slipway is imported here,
and nothing imports this: there is no room below.
"""
