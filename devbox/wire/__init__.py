"""The conversation between client and agent: frames, streams, sessions. Sans-I/O and pure."""
