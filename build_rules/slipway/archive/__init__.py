"""Archives as bytes: layers, strict tar reading, deterministic tar writing, ar, decompression.

Code that reads or writes archives belongs here; code that interprets their content does not.
The room below is `core`.
"""
