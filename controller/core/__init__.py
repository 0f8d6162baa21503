"""Desired and observed in, actions out. Pure."""
