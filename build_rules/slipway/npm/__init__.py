"""npm packages: lockfiles in `lockfiles`, install scripts in `scripts`, and the install itself.

Code that knows npm's file formats and behaviour belongs here. Clients of npm registries belong to
`npm_registry`. The room below is `runtime`.
"""
