"""Pages for people who come with a browser."""
