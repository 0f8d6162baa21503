"""Brings what is observed of projects to what people desire."""
