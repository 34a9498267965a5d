"""Reads and writes ELF files: required and exported symbols, sections, stub libraries.

Code that knows the ELF format belongs here; ABI policies do not. The room below is `oci`.
"""
