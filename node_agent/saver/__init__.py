"""The saver: writes what changed in an upper as an image layer and pushes it.

Owns the reading of uppers, the tar and zstd form of layers, the index of the last save, and the
worker processes that do it. Knows the registry; knows nothing of CRI, journal and controller.
"""

from node_agent.saver.orders import SavedImage, UpperSave
from node_agent.saver.saver import Saver

__all__ = ["SavedImage", "Saver", "UpperSave"]
