"""The agent bundle: a relocatable tree that boxes see, read-only, at `/.devbox`.

Built on the host, from the interpreter that runs the builder. Holds its own CPython, libc and
loader, so that it runs in any root file system, even an empty one. Runs nowhere in a box itself.

    bin/devbox-init     the first process of a box (static C)
    bin/devbox-agent    starts the agent (static C)
    bin/devbox-exec     the last step before a person's process (static C)
    bin/python3         the interpreter, patched to use only the bundle's loader and libraries
    bin/busybox         static; `tools/` holds a link per tool, for images without a shell
    lib/                the loader, shared libraries, `python3.x/`
    app/                third-party packages, `devbox` and `in_box_agent`
"""
