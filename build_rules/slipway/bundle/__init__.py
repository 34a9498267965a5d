"""Bundles: an application installed, built and packed into layers, for one environment.

What the build script and the application's own files are about belongs here. Below is `npm`.
"""
