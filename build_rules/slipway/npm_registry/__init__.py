"""npm's registries: the user's npm configuration, and the client that fetches tarballs by it.

The configuration's proxies and CAs hold for other downloads too, so that it is below the rooms
that need those. What locks say about packages belongs into `npm`. Below is `fetch`.
"""
