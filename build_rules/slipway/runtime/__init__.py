"""Node runtimes from Node definitions: from binaries or from source, and the runtime layer.

Code about the content of a Node runtime belongs here, and the rules for the content of layers.
The room below is `toolchain`.
"""
