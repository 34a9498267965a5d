"""Fetching: HTTP, the cache of downloads, jobs on many threads, integrity, and their faults.

What all fetchers share belongs here; which server is asked for what is up to the rooms above.
Below is `archive`.
"""
