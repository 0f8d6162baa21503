"""The whole journal. Two processes may have it open, and each may be killed at any moment."""

from node_agent.journal.saves import Saves


class Journal(Saves):
    """Uppers, boxes, saves, and the news that wait for the controller."""

    def add_news(self, kind: str, key: str, value: bytes = b"") -> None:
        """Keep a fact until the controller heard it; a newer one of the same key replaces it."""
        with self._change() as database:
            database.execute("INSERT OR REPLACE INTO news VALUES (?, ?, ?)", (kind, key, value))

    def news(self, kind: str) -> list[tuple[str, bytes]]:
        """(key, value) of what the controller has not heard."""
        rows = self._rows("SELECT key, value FROM news WHERE kind = ? ORDER BY key", kind)
        return [(str(key), bytes(value)) for key, value in rows]

    def heard(self, kind: str, told: list[tuple[str, bytes]]) -> None:
        """The controller has heard these."""
        with self._change() as database:
            database.executemany(
                "DELETE FROM news WHERE kind = ? AND key = ? AND value = ?",
                [(kind, key, value) for key, value in told],
            )

    def forget_project(self, project_uid: str) -> None:
        """All rows of a deleted project."""
        with self._change() as database:
            for table in ("uppers", "boxes", "sequences", "saves"):
                database.execute(f"DELETE FROM {table} WHERE project_uid = ?", (project_uid,))
