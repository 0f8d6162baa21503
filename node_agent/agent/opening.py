"""Opens the real rooms behind `parts`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from devbox.edge.containerd.client import Containerd
from devbox.edge.layout import Layout, ServerSettings
from devbox.edge.registry import Registry
from node_agent.agent.containers import ContainerdView
from node_agent.agent.orders import Parts
from node_agent.collector.measuring import Measuring
from node_agent.collector.sweeping import Sweeping
from node_agent.faults import die_at as die_at_step
from node_agent.journal import Journal
from node_agent.runtimes.builder import Builder
from node_agent.saver import Saver
from node_agent.saver.writer import RegistryWriter
from node_agent.upper import Uppers
from node_agent.upper.removing import Removing


@asynccontextmanager
async def open_parts(
    layout: Layout,
    settings: ServerSettings,
    journal: Journal,
    containerd: Containerd,
    die_at: str = "",
) -> AsyncIterator[Parts]:
    """Connect to the registry and have a saver's worker waiting."""
    layout.indexes.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with (
        Registry(f"http://{settings.registry_host}") as registry,
        Saver(registry, die_at=die_at) as saver,
    ):
        removing = Removing(Uppers(layout, journal, die_at_step(die_at)))
        await removing.start()
        try:
            yield Parts(
                writer=RegistryWriter(registry, saver, layout, settings),
                uppers=removing,
                containers=ContainerdView(containerd, settings.registry_host),
                data=layout.data,
                builder=Builder(registry, saver, layout.builds, settings.compression),
                sweeping=Sweeping(layout.registry),
                meter=Measuring(layout, journal, settings.node),
            )
        finally:
            await removing.close()
