-- Times are nanoseconds since the Unix epoch, intervals and latencies nanoseconds.
-- tier: 0 as it came (about 1 s), 1 rolled up to 10 s, 2 rolled up to 5 min.
-- Clustered by (tier, at): rows of a tier are appended at its end, read in order
-- of time and forgotten from its beginning; no second index is needed.

-- What a row is about (edge, route, metric name, ...), once. key is MessagePack.
CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    key BLOB NOT NULL,
    UNIQUE (kind, key)
) STRICT;

CREATE TABLE entities (
    id TEXT PRIMARY KEY,
    seen INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE flows (
    tier INTEGER NOT NULL,
    at INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    series INTEGER NOT NULL,
    interval INTEGER NOT NULL,
    tx_bytes INTEGER NOT NULL,
    rx_bytes INTEGER NOT NULL,
    tx_packets INTEGER NOT NULL,
    rx_packets INTEGER NOT NULL,
    retransmits INTEGER NOT NULL,
    syn_retransmits INTEGER NOT NULL,
    connects INTEGER NOT NULL,
    resets_sent INTEGER NOT NULL,
    resets_received INTEGER NOT NULL,
    listen_overflows INTEGER NOT NULL,
    open INTEGER NOT NULL,
    failed_connects BLOB,
    drops BLOB,
    rtt BLOB,
    connect_time BLOB,
    PRIMARY KEY (tier, at, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE requests (
    tier INTEGER NOT NULL,
    at INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    series INTEGER NOT NULL,
    interval INTEGER NOT NULL,
    count INTEGER NOT NULL,
    request_bytes INTEGER NOT NULL,
    response_bytes INTEGER NOT NULL,
    latency BLOB,
    PRIMARY KEY (tier, at, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE metrics (
    tier INTEGER NOT NULL,
    at INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    series INTEGER NOT NULL,
    interval INTEGER NOT NULL,
    value REAL,
    PRIMARY KEY (tier, at, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE exemplars (
    at INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    series INTEGER NOT NULL,
    path TEXT NOT NULL,
    first_byte INTEGER NOT NULL,
    duration INTEGER NOT NULL,
    request_bytes INTEGER NOT NULL,
    response_bytes INTEGER NOT NULL,
    PRIMARY KEY (at, seq)
) STRICT, WITHOUT ROWID;

-- Everything that happens rather than accumulates; body is the whole signal.
CREATE TABLE events (
    at INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    entity TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (at, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE reports (
    id TEXT PRIMARY KEY,
    at INTEGER NOT NULL,
    service TEXT NOT NULL,
    title TEXT NOT NULL,
    text TEXT NOT NULL,
    json TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX reports_at ON reports (at);

-- One row: what the store knows about itself.
CREATE TABLE meta (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    seq INTEGER NOT NULL,
    newest INTEGER NOT NULL,
    appended INTEGER NOT NULL
) STRICT;
INSERT INTO meta VALUES (0, 0, 0, 0);
