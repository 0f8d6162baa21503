"""Starts the controller."""
