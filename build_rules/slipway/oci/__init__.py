"""Images as registries and engines have them: reading, writing, registries, logins, the lock.

What knows the formats or the `docker` program belongs here. Below is `debian`.
"""
