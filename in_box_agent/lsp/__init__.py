"""The language server bridge, inside the box.

`framing`, `places`, `rewriting` and `table` are pure: bytes and values in, bytes and values out.
"""
