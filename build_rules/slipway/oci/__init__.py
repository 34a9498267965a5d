"""Container images: reading, writing, registries, logins, the lock, and the Docker client.

Code that knows image formats or the `docker` program belongs here. The room below is `debian`.
"""
