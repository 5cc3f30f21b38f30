-- The roostds that have started children: one that lives keeps them, and the marks of what one that died left name its
-- socket (a path, in bytes).

CREATE TABLE daemons (
    pid INTEGER NOT NULL,
    start_time INTEGER NOT NULL,
    boot_id TEXT NOT NULL,
    socket BLOB NOT NULL,
    PRIMARY KEY (pid, start_time, boot_id)
) WITHOUT ROWID;
