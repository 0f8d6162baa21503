"""The tables, as the list of steps that made them. `user_version` counts the steps taken."""

import sqlite3

from devbox.model.errors import Internal

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE projects (
        uid TEXT PRIMARY KEY,
        namespace TEXT NOT NULL,
        name TEXT NOT NULL,
        runtime TEXT NOT NULL,
        desired TEXT NOT NULL,
        pod_uid TEXT NOT NULL DEFAULT '',
        created_at REAL NOT NULL,
        host_key TEXT NOT NULL,
        spec TEXT NOT NULL,
        image TEXT NOT NULL,
        state TEXT NOT NULL,
        UNIQUE (namespace, name)
    ) STRICT;
    CREATE INDEX projects_by_pod ON projects (pod_uid);
    CREATE INDEX projects_by_runtime ON projects (runtime);

    CREATE TABLE tokens (
        id TEXT PRIMARY KEY,
        project_uid TEXT NOT NULL REFERENCES projects (uid) ON DELETE CASCADE,
        hash TEXT NOT NULL,
        info TEXT NOT NULL
    ) STRICT;
    CREATE INDEX tokens_by_project ON tokens (project_uid);

    CREATE TABLE users (
        name TEXT PRIMARY KEY,
        hash TEXT NOT NULL UNIQUE,
        body TEXT NOT NULL
    ) STRICT;

    CREATE TABLE saves (
        project_uid TEXT NOT NULL REFERENCES projects (uid) ON DELETE CASCADE,
        seq INTEGER NOT NULL,
        generation INTEGER NOT NULL,
        body TEXT NOT NULL,
        image TEXT,
        PRIMARY KEY (project_uid, seq)
    ) STRICT;

    CREATE TABLE orders (
        id TEXT PRIMARY KEY,
        project_uid TEXT NOT NULL REFERENCES projects (uid) ON DELETE CASCADE,
        body TEXT NOT NULL,
        refused TEXT NOT NULL DEFAULT ''
    ) STRICT;

    CREATE TABLE releases (
        project_uid TEXT NOT NULL REFERENCES projects (uid) ON DELETE CASCADE,
        version TEXT NOT NULL,
        order_id TEXT NOT NULL,
        notes TEXT NOT NULL,
        body TEXT,
        image TEXT,
        PRIMARY KEY (project_uid, version)
    ) STRICT;

    CREATE TABLE runtimes (
        name TEXT PRIMARY KEY,
        body TEXT NOT NULL,
        attempt INTEGER NOT NULL DEFAULT 1,
        wanted INTEGER NOT NULL DEFAULT 0
    ) STRICT;

    CREATE TABLE uppers (
        project_uid TEXT NOT NULL REFERENCES projects (uid) ON DELETE CASCADE,
        node TEXT NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (project_uid, node)
    ) STRICT;

    CREATE TABLE nodes (
        name TEXT PRIMARY KEY,
        seen_at REAL NOT NULL
    ) STRICT;

    CREATE TABLE changes (
        revision INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        subject TEXT NOT NULL
    ) STRICT;
    INSERT INTO changes (kind, subject) VALUES ('began', '');
    """,
    """
    CREATE TABLE forgets (
        project_uid TEXT NOT NULL REFERENCES projects (uid) ON DELETE CASCADE,
        digest TEXT NOT NULL,
        seq INTEGER NOT NULL,
        PRIMARY KEY (project_uid, digest)
    ) STRICT;
    """,
)


def migrate(db: sqlite3.Connection) -> None:
    """Take the steps that are missing, each whole or not at all.

    Raises Internal when a newer version of the program has written the file.
    """
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise Internal(
            f"the controller's store is of version {version}, newer than this program's",
            "Nothing was changed. Start the newer version of Devbox again.",
        )
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        db.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;")
