"""Reading and writing ELF files: what they need and offer, sections, stub libraries.

What knows the format belongs here; what a toolchain promises does not. Below is `oci`.
"""
