"""`devbox server` and `devbox doctor`: the whole stack on one machine.

Owns supervision. May import every part of the server; the rest of the command line may not import
this room.
"""

from devbox.cli.server.commands import doctor, server_app

__all__ = ["doctor", "server_app"]
