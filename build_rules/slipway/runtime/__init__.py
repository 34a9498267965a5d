"""Node definitions to Node runtimes: from binaries or from source, and the layer of a release.

What a Node is and brings belongs here, and what may be in which layer. Below is `toolchain`.
"""
