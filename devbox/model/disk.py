"""Who uses what of a node's disk: bytes on disk, every blob of the registry counted once."""

import msgspec


class ProjectDisk(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one project uses."""

    project_uid: str
    namespace: str = ""
    name: str = ""
    """Empty for a project that is being deleted."""
    changed_bytes: int = 0
    """Of its changed files on the node; 0 when the node keeps none."""
    kept: str = ""
    """`in use`, `dirty`, or `cache`: saved, and given back when the disk is nearly full."""
    saves_bytes: int = 0
    """Blobs that only its saves refer to."""
    releases_bytes: int = 0
    """Blobs of its releases that no other project and no runtime refers to."""

    @property
    def total_bytes(self) -> int:
        """What would be free without the project."""
        return self.changed_bytes + self.saves_bytes + self.releases_bytes


class RuntimeDisk(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a runtime's image takes in the registry. Projects that start from it add nothing."""

    name: str
    bytes: int


class Disk(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file system that holds changed files, images and the registry, and who uses it."""

    node: str
    total_bytes: int
    free_bytes: int
    low_bytes: int
    """With less free, saved files of stopped projects are given back, longest unused first ..."""
    high_bytes: int
    """... until so much is free."""
    floor_bytes: int
    """With less free, no box starts."""
    projects: tuple[ProjectDisk, ...] = ()
    runtimes: tuple[RuntimeDisk, ...] = ()
    shared_bytes: int = 0
    """Blobs that several projects refer to, and no runtime."""
    unused_bytes: int = 0
    """In the registry, and referred to by nobody: gone with the next sweeps, and uploads."""
    images_bytes: int = 0
    """Images unpacked for boxes on the node, without anybody's changed files."""
