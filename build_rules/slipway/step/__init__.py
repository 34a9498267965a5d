"""The one entry point of every build step, its inputs fetched on demand, its programs' digests.

What holds for steps of all rooms belongs here, and the frame of the programs that run in them.
Below is `isolation`, with the options of `subsystem.py` between.
"""
