"""Build steps: the entry point of all steps, inputs that are fetched on demand, program digests.

Code that all steps share belongs here, and the frame of the programs that run in steps.
The room below is `isolation`; `subsystem.py` is between them.
"""
