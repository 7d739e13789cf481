"""The tables of a run's database."""

from __future__ import annotations

from vkdnw_search.runs.sqlite_files import DatabaseSchema

__all__ = ["RUN"]

RUN = DatabaseSchema(
    what="the database of a run",
    application_id=0x766B646E,  # ASCII "vkdn"
    version=4,
    schema="""
CREATE TABLE generation (number INTEGER PRIMARY KEY, first INTEGER NOT NULL, genomes TEXT NOT NULL) STRICT;
CREATE TABLE evaluation (
    number INTEGER PRIMARY KEY, generation INTEGER NOT NULL, genome TEXT NOT NULL, key TEXT NOT NULL,
    flops INTEGER NOT NULL, macs INTEGER NOT NULL, parameters INTEGER NOT NULL, layers INTEGER NOT NULL,
    tensors INTEGER NOT NULL, modules INTEGER NOT NULL, memory INTEGER, latency INTEGER,
    int8_size INTEGER, int8_memory INTEGER,
    violation REAL NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL,
    value REAL, standard_error REAL, terms TEXT
) STRICT;
CREATE TABLE timing (number INTEGER PRIMARY KEY, finished REAL NOT NULL, seconds REAL NOT NULL) STRICT;
CREATE TABLE snapshot (
    place INTEGER PRIMARY KEY CHECK (place = 0),
    generation INTEGER NOT NULL, number INTEGER NOT NULL, made_by TEXT NOT NULL, state TEXT NOT NULL
) STRICT;
CREATE TABLE note (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
""",
)
