"""Devbox: what client, gateway, controller, node agent and agent share, and the command line."""
