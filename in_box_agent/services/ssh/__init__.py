"""SSH over a stream of a session. The address authenticated; SSH itself asks for nothing more."""
