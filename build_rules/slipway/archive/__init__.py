"""Archives as bytes: layers, strict tar reading, deterministic tar writing, ar, decompression.

What reads or writes archives belongs here, whatever they hold; what an archive means does not.
Below is `core`.
"""
