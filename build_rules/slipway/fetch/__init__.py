"""Fetching: HTTP, the download cache, jobs on many threads, integrity, signatures, and errors.

Code that all fetchers share belongs here; code that knows a kind of server belongs above.
The room below is `archive`.
"""
