"""The journal's tables, one migration per version (PRAGMA user_version)."""

import sqlite3

MIGRATIONS = (
    """
    CREATE TABLE uppers (
        project_uid TEXT PRIMARY KEY,
        path TEXT NOT NULL,
        image BLOB NOT NULL,
        chain_id TEXT NOT NULL,
        generation INTEGER NOT NULL,
        dirty INTEGER NOT NULL,
        bytes INTEGER NOT NULL
    );
    CREATE TABLE boxes (
        container_id TEXT PRIMARY KEY,
        sandbox_id TEXT NOT NULL,
        pod_uid TEXT NOT NULL,
        project_uid TEXT NOT NULL,
        generation INTEGER NOT NULL,
        may_write INTEGER NOT NULL
    );
    CREATE INDEX boxes_by_sandbox ON boxes (sandbox_id);
    CREATE INDEX boxes_by_project ON boxes (project_uid);
    CREATE TABLE sequences (project_uid TEXT PRIMARY KEY, seq INTEGER NOT NULL);
    CREATE TABLE saves (
        project_uid TEXT NOT NULL,
        seq INTEGER NOT NULL,
        step TEXT NOT NULL,
        order_id TEXT NOT NULL,
        save BLOB NOT NULL,
        tags BLOB NOT NULL,
        attempts INTEGER NOT NULL,
        retry_at REAL NOT NULL,
        image BLOB,
        reported INTEGER NOT NULL,
        PRIMARY KEY (project_uid, seq)
    );
    CREATE INDEX saves_by_step ON saves (step);
    CREATE UNIQUE INDEX saves_by_order ON saves (order_id) WHERE order_id <> '';
    CREATE TABLE news (kind TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL,
        PRIMARY KEY (kind, key));
    """,
    """
    ALTER TABLE uppers ADD COLUMN state TEXT NOT NULL DEFAULT 'dirty';
    UPDATE uppers SET state = 'clean' WHERE NOT dirty;
    ALTER TABLE uppers DROP COLUMN dirty;
    """,
    "ALTER TABLE saves ADD COLUMN written INTEGER NOT NULL DEFAULT 0;",
)


def migrate(database: sqlite3.Connection) -> None:
    """Bring the tables to the newest version, in one transaction each."""
    (version,) = database.execute("PRAGMA user_version").fetchone()
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        database.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;")
