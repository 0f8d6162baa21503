"""`devbox ssh --listen`: a local port that leads to a box's SSH, for clients without ProxyCommand.

Owns the port and the warning that goes with it. Knows no SSH but the host key's fingerprint.
"""

import base64
import hashlib
from functools import partial
from typing import TYPE_CHECKING

from devbox.cli.forward import start_bridge, until_ended
from devbox.cli.sessions import dial_of, fetch_project, open_session

if TYPE_CHECKING:
    from devbox.cli.lazy import Call
    from devbox.cli.reach import Target
    from devbox.model.errors import DevboxError


async def listen(call: "Call", wanted: "Target", port: int) -> None:
    """Carry each connection to `port` to the box as SSH, until Ctrl-C. Port 0 is any free one."""
    from devbox.edge.links import BridgeServer

    def failed(error: "DevboxError") -> None:
        call.screen.note(error.message)

    host_key = (await fetch_project(wanted)).host_key
    async with open_session(await dial_of(wanted)) as session:
        server = BridgeServer(partial(session.open, "ssh", {}), failed)
        port = await start_bridge(server, port, "0")
        try:
            _tell(call, port, host_key)
            await until_ended(call, session, "The port is closed; the box goes on.")
        finally:
            await server.close()


def _tell(call: "Call", port: int, host_key: str) -> None:
    found = fingerprint(host_key)
    call.screen.answer({"host": "127.0.0.1", "port": port, "fingerprint": found})
    call.screen.say(f"127.0.0.1:{port} is SSH in the box, whose host key is {found}")
    call.screen.note(
        "No key or password is asked for: while this runs, everybody who can log in to this "
        "machine can enter the box."
    )


def fingerprint(host_key: str) -> str:
    """A public key as every client shows it (RFC 4255's digest, OpenSSH's spelling)."""
    blob = base64.b64decode(host_key.split()[1])
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode()
    return f"SHA256:{digest.rstrip('=')}"
