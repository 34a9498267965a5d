"""The ABI policy: what binaries may need of old hosts, the audit, the waivers, the table.

Plain logic about policies belongs here; where their files are is up to `toolchain`. Below is `elf`.
"""
