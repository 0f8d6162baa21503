"""Sessions over websockets: `connect` for clients; `SessionServer` and `listen` for the agent.

Owns sockets, dialling again, and the greeting. What the bytes mean is decided in `devbox.wire`.
"""

from devbox.edge.links.bridges import Bridge, BridgeServer, bridge_socket, bridge_tcp, bridge_unix
from devbox.edge.links.client import ClientSession, DialOptions, SessionEvent, connect
from devbox.edge.links.dial import Target
from devbox.edge.links.listener import Listener, Request, Response, Route, failed, listen
from devbox.edge.links.pumps import Sink, Source, WriterSink, copy, pump, pump_socket
from devbox.edge.links.server import AgentSession, Handler, MayOpen, ServerLimits, SessionServer
from devbox.edge.links.sessions import Session
from devbox.edge.links.streams import Stream
from devbox.edge.links.transport import StreamTransport
from devbox.wire.frames import Lane
from devbox.wire.states import SessionState

__all__ = [
    "AgentSession",
    "Bridge",
    "BridgeServer",
    "ClientSession",
    "DialOptions",
    "Handler",
    "Lane",
    "Listener",
    "MayOpen",
    "Request",
    "Response",
    "Route",
    "ServerLimits",
    "Session",
    "SessionEvent",
    "SessionServer",
    "SessionState",
    "Sink",
    "Source",
    "Stream",
    "StreamTransport",
    "Target",
    "WriterSink",
    "bridge_socket",
    "bridge_tcp",
    "bridge_unix",
    "connect",
    "copy",
    "failed",
    "listen",
    "pump",
    "pump_socket",
]
