"""ABI policies: what binaries may need from old hosts, the audit, the waivers, the table.

Plain logic about policies belongs here; `toolchain` finds their files. The room below is `elf`.
"""
