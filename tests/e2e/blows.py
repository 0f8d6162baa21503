"""What can happen to a box and its node, done straight at the real parts."""

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

from devbox.edge.layout import Layout


class Machine:
    """The machine that an embedded server runs on, as somebody with root sees it."""

    def __init__(self, layout: Layout, registry_port: int) -> None:
        self.layout = layout
        self._registry_port = registry_port
        self._ctr = ("ctr", "-a", str(layout.containerd_socket), "-n", "k8s.io")

    def ctr(self, *arguments: str, check: bool = True) -> str:
        """Run `ctr` at the server's containerd."""
        done = subprocess.run(
            [*self._ctr, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout

    def parts(self) -> dict[str, int]:
        """Part -> process id."""
        state = json.loads((self.layout.run / "server.json").read_text())
        return {name: part["pid"] for name, part in state["parts"].items()}

    def kill(self, part: str) -> None:
        """SIGKILL one part of the server; the supervisor starts it again."""
        os.kill(self.parts()[part], signal.SIGKILL)

    def boxes(self, project_uid: str) -> list[dict[str, str]]:
        """The node's journal's rows of a project's boxes."""
        with contextlib.closing(sqlite3.connect(self.layout.journal)) as journal:
            rows = journal.execute(
                "SELECT container_id, sandbox_id, pod_uid FROM boxes WHERE project_uid = ?",
                (project_uid,),
            ).fetchall()
        return [{"container": row[0], "sandbox": row[1], "pod": row[2]} for row in rows]

    def strike(self, blow: str, project_uid: str) -> None:
        """Hit the project's box, or containerd under it."""
        if blow == "containerd":
            return self.kill("containerd")
        running = self.ctr("tasks", "ls", "-q").split()
        (box,) = [b for b in self.boxes(project_uid) if b["container"] in running]
        victim = box["sandbox"] if blow == "sandbox" else box["container"]
        self.ctr("tasks", "kill", "-s", "SIGKILL", "-a", victim, check=False)
        if blow in {"container", "sandbox"}:
            self._remove(victim)
        return None

    def start_past_the_shim(self, project_uid: str) -> subprocess.CompletedProcess[str]:
        """The box's image with the agent's mount, straight at containerd, as nobody should."""
        (running,) = [b["container"] for b in self.boxes(project_uid) if b["container"]][-1:]
        info = json.loads(self.ctr("containers", "info", running))
        bundle = (self.layout.bundle / "current").resolve()
        mount = f"type=bind,src={bundle},dst=/.devbox,options=rbind:ro"
        run = ("run", "--rm", "--mount", mount, info["Image"], "past-the-shim")
        return subprocess.run(
            [*self._ctr, *run, "/.devbox/bin/devbox-init"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def _remove(self, container: str) -> None:
        for _ in range(50):
            self.ctr("tasks", "rm", "-f", container, check=False)
            self.ctr("containers", "rm", container, check=False)
            if container not in self.ctr("containers", "ls", "-q").split():
                return
            time.sleep(0.1)
        raise AssertionError(f"{container} stays")

    def forget_everything_local(self, project_uid: str) -> None:
        """Upper, index and every image of the node are gone, as on another node."""
        upper = self.layout.uppers / project_uid
        assert upper.is_dir()
        shutil.rmtree(upper)
        for index in self.layout.indexes.glob(f"{project_uid}*"):
            index.unlink()
        with contextlib.closing(sqlite3.connect(self.layout.journal)) as journal, journal:
            journal.execute("DELETE FROM uppers WHERE project_uid = ?", (project_uid,))
        self.kill("node_agent")
        for image in self.ctr("images", "ls", "-q").split():
            if f":{self._registry_port}/projects/" in image or "/runtimes/" in image:
                self.ctr("images", "rm", "--sync", image)

    def traces_of(self, project_uid: str) -> list[str]:
        """Whatever is left of a deleted project."""
        found = [str(path) for path in self.layout.uppers.glob(f"{project_uid}*")]
        found += [str(path) for path in self.layout.indexes.glob(f"{project_uid}*")]
        found += [line for line in self.ctr("images", "ls", "-q").split() if project_uid in line]
        repository = self.layout.registry / "docker/registry/v2/repositories/projects" / project_uid
        for kind in (
            "_manifests/tags/*",
            "_manifests/revisions/sha256/*/link",
            "_layers/sha256/*/link",
        ):
            found += [str(path) for path in repository.glob(kind)]
        for name in ("journal", "controller"):
            found += self._rows_with(getattr(self.layout, name), project_uid)
        return found

    def _rows_with(self, path: Path, text: str) -> list[str]:
        with contextlib.closing(sqlite3.connect(path)) as database:
            tables = [
                row[0]
                for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            ]
            return [
                f"{path.name}: {table}"
                for table in tables
                for row in database.execute(f"SELECT * FROM {table}")
                if any(text in _text(value) for value in row) and table != "changes"
            ]

    def logs(self) -> list[Path]:
        """Every log file of the server."""
        return [path for path in self.layout.logs.rglob("*") if path.is_file()]


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
