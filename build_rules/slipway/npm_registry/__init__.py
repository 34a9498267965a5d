"""npm registries: the user's npm configuration, and a client that fetches tarballs with it.

Other downloads use the proxies and CAs of npm's configuration too, so this room is below the rooms
that download. Code about lockfiles belongs in `npm`. The room below is `fetch`.
"""
