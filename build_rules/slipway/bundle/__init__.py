"""Bundles: an application installed, built and packed into layers, for one environment.

Code for the build script and for the application's own files belongs here. The room below is `npm`.
"""
