"""What can go wrong inside the conversation. Knows neither sockets nor HTTP.

DevboxError
  +- Internal
       +- ProtocolError    the peer broke the protocol; the session ends
       +- IllegalMove      we broke a state table; our fault
LinkBroken                 the bytes of one link make no sense; the link ends, the session lives
"""

from devbox.model.errors import Internal


class ProtocolError(Internal):
    """The peer sent what the protocol forbids. Ends the session: a replay would bring it again."""


class IllegalMove(Internal):
    """A state machine was asked for a move that its table does not have."""


class LinkBroken(Exception):
    """A link's bytes cannot be read, or its numbers have a gap. A new link starts clean."""
