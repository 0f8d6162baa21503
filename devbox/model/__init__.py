"""Address, Grant, Project, Save, Release, Runtime, Orchestrator, errors: frozen and pure.

Owns the words of the product and their forms as JSON. Knows no clock, socket, file or process.
"""
