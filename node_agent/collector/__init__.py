"""Gives disk back: blobs in the registry's storage that nothing refers to any more.

Owns no image: who decides that a save may go is the controller, and who removes it the saver.
"""
