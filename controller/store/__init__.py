"""The controller's durable state in SQLite. Knows no CRI and no socket."""
