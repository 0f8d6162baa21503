"""The OCI registry: images and layers over HTTP (OCI distribution spec 1.1).

Owns the talk with registries and the making of manifests and configs. Knows nothing of uppers,
projects or containers.
"""

from devbox.edge.registry.client import Registry
from devbox.edge.registry.documents import Descriptor, ImageDocument, StoredManifest
from devbox.edge.registry.pull import Puller
from devbox.edge.registry.references import Reference
from devbox.edge.registry.transport import Deadlines

__all__ = [
    "Deadlines",
    "Descriptor",
    "ImageDocument",
    "Puller",
    "Reference",
    "Registry",
    "StoredManifest",
]
