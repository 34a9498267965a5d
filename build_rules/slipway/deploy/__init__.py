"""Deploys: the coordinator, the agent that the coordinator sends to hosts, and the goals.

Code that handles a packaged release belongs here. The room below is `release`.
"""
