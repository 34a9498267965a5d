"""Deploying: the coordinator, the agent that it sends to hosts, and the goals.

What happens to a release once it is packed belongs here. Below is `release`.
"""
