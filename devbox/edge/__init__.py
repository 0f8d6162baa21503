"""Where the shared code touches the world: links, settings, tasks, registry, containerd."""
