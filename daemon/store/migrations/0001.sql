-- The first format. Times are unix milliseconds; columns of type BLOB hold MessagePack unless said otherwise.

CREATE TABLE meta (  -- one row. marker: number of the last commit; settled: how often a failed one was looked into
    id INTEGER PRIMARY KEY CHECK (id = 1),
    last_offset INTEGER NOT NULL,
    daemon_seq INTEGER NOT NULL,
    marker INTEGER NOT NULL,
    settled INTEGER NOT NULL
);
INSERT INTO meta VALUES (1, 0, 0, 0, 0);

CREATE TABLE sessions (
    n INTEGER PRIMARY KEY,  -- order of creation
    id TEXT NOT NULL UNIQUE,
    name TEXT,
    engine TEXT NOT NULL,
    kind TEXT NOT NULL,
    workspace TEXT NOT NULL,
    state TEXT NOT NULL,
    archived INTEGER NOT NULL,
    hold BLOB,
    after BLOB NOT NULL,
    queued INTEGER NOT NULL,
    turns INTEGER NOT NULL,
    turn TEXT,
    last_turn TEXT,
    last_turn_state TEXT,
    interrupted TEXT,
    pid INTEGER,
    failure BLOB,
    seq INTEGER NOT NULL,
    usage BLOB NOT NULL,
    checkpoint_at INTEGER,
    through_turn TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    active_at INTEGER NOT NULL
);
CREATE UNIQUE INDEX sessions_names ON sessions (name) WHERE archived = 0;
CREATE INDEX sessions_live ON sessions (id) WHERE state NOT IN ('idle', 'failed');
CREATE INDEX sessions_with_work ON sessions (id) WHERE queued > 0;

CREATE TABLE environments (  -- apart: every change of a session would write it again
    session TEXT PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
    env BLOB NOT NULL,
    author BLOB
) WITHOUT ROWID;

CREATE TABLE turns (
    id TEXT PRIMARY KEY,
    session TEXT NOT NULL,  -- no reference: turns of a session that was deleted are swept little by little
    number INTEGER NOT NULL,
    place INTEGER NOT NULL DEFAULT 0,  -- the order in which turns ran and will run
    state TEXT NOT NULL,
    reason TEXT,
    problem BLOB,
    cancelling TEXT,
    cancelled_by BLOB,
    exit_code INTEGER,
    retry_of TEXT,
    timeout INTEGER,
    idle_timeout INTEGER,
    author BLOB,
    usage BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    ended_at INTEGER,
    duration INTEGER,
    input TEXT NOT NULL  -- last: it may be long, and what stands behind it is slow to reach
);
CREATE INDEX turns_in_order ON turns (session, place);
CREATE INDEX turns_queued ON turns (session, place) WHERE state = 'queued';
CREATE INDEX turns_live ON turns (session) WHERE state IN ('running', 'waiting');

CREATE TABLE items (
    id TEXT PRIMARY KEY,
    turn TEXT NOT NULL REFERENCES turns (id) ON DELETE CASCADE,
    session TEXT NOT NULL,
    number INTEGER NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    title TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    kept INTEGER NOT NULL,
    truncated INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    data BLOB NOT NULL,
    content TEXT NOT NULL,  -- empty while it is in progress: the chunks have it
    tail TEXT NOT NULL
);
CREATE UNIQUE INDEX items_in_turn ON items (turn, number);
CREATE INDEX items_open ON items (session) WHERE state = 'in_progress';

CREATE TABLE chunks (  -- content of items in progress, and of those too long to stand in their row; data is UTF-8
    item TEXT NOT NULL,
    start INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (item, start)
) WITHOUT ROWID;

CREATE TABLE checkpoints (
    session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    through_turn TEXT,
    bytes INTEGER NOT NULL,
    at INTEGER NOT NULL,
    state BLOB NOT NULL,
    PRIMARY KEY (session, name)
);

CREATE TABLE events (
    offset INTEGER PRIMARY KEY,
    session TEXT NOT NULL,  -- '' for the daemon's own
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    packed BLOB NOT NULL
);
CREATE UNIQUE INDEX events_of_session ON events (session, seq);

CREATE TABLE gaps (  -- events 1 to to_seq of the session were removed; to_offset was the last one's
    session TEXT PRIMARY KEY,
    to_seq INTEGER NOT NULL,
    to_offset INTEGER NOT NULL,
    at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX gaps_in_order ON gaps (to_offset);

CREATE TABLE deleted (  -- sessions whose last event is still kept; swept: nothing else of them is
    n INTEGER PRIMARY KEY,
    session TEXT NOT NULL UNIQUE,
    swept INTEGER NOT NULL
);

CREATE TABLE keys (
    n INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    hash BLOB NOT NULL,
    result TEXT NOT NULL,
    at INTEGER NOT NULL,
    UNIQUE (scope, key)
);

CREATE TABLE children (
    session TEXT NOT NULL,
    pid INTEGER NOT NULL,
    start_time INTEGER NOT NULL,
    boot_id TEXT NOT NULL,
    pgid INTEGER NOT NULL,
    sid INTEGER NOT NULL,
    PRIMARY KEY (session, pid)
) WITHOUT ROWID;
