-- An owner has several children, each in a leaf of its own below it; children that are recorded already have none.

CREATE TABLE several (
    owner TEXT NOT NULL,
    leaf TEXT NOT NULL,
    pid INTEGER NOT NULL,
    start_time INTEGER NOT NULL,
    boot_id TEXT NOT NULL,
    pgid INTEGER NOT NULL,
    sid INTEGER NOT NULL,
    PRIMARY KEY (owner, leaf, pid)
) WITHOUT ROWID;
INSERT INTO several SELECT session, '', pid, start_time, boot_id, pgid, sid FROM children;
DROP TABLE children;
ALTER TABLE several RENAME TO children;

-- The roostd that last served this database, in place of all that have started children: while it lives, no other one
-- serves a copy. The marks of what it left name its socket (a path, in bytes). Device and inode of its state directory
-- tell a copy from the original.

CREATE TABLE keeper (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    pid INTEGER NOT NULL,
    start_time INTEGER NOT NULL,
    boot_id TEXT NOT NULL,
    socket BLOB NOT NULL,
    directory TEXT NOT NULL
);
INSERT INTO keeper SELECT 1, pid, start_time, boot_id, socket, '' FROM daemons ORDER BY start_time DESC LIMIT 1;
DROP TABLE daemons;
