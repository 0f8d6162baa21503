"""Keeps boxes within what their projects may write: measures, warns, and has a full one stopped.

Owns no decision about boxes: that one is full goes to the controller, which stops it.
"""
