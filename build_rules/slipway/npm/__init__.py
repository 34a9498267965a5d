"""npm packages: locks in `lockfiles`, install scripts in `scripts`, and the install itself.

What knows npm's files and habits belongs here, but for its registries, which are in `npm_registry`.
Below is `runtime`.
"""
