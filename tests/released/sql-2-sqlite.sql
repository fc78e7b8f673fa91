CREATE TABLE inventory (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    meta_table VARCHAR(255) NOT NULL,
    job VARCHAR(255) NOT NULL,
    job_identifier TEXT,
    job_result_item JSON,
    processing_start DATETIME NOT NULL,
    processing_end DATETIME,
    batch_id_start BIGINT NOT NULL,
    batch_id_end BIGINT NOT NULL,
    batch_weight VARCHAR(80),
    batch_count INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    status VARCHAR(16) NOT NULL,
    logging TEXT,
    config JSON NOT NULL,
    job_id INTEGER NOT NULL,
    kind VARCHAR(16) NOT NULL,
    claim_number INTEGER,
    range_lo BIGINT,
    uids TEXT NOT NULL,
    digest VARCHAR(64) NOT NULL,
    charged INTEGER NOT NULL,
    losses INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    token VARCHAR(64),
    worker VARCHAR(255),
    due_at DATETIME,
    publish_number INTEGER,
    replaces JSON,
    superseded_by INTEGER
);

CREATE INDEX inventory_beside ON inventory (job_id, range_lo, batch_id_start) WHERE range_lo IS NULL;

CREATE UNIQUE INDEX inventory_claim ON inventory (job_id, claim_number);

CREATE INDEX inventory_due ON inventory (job_id, status, due_at) WHERE due_at IS NOT NULL;

CREATE UNIQUE INDEX inventory_range ON inventory (job_id, range_lo);

CREATE UNIQUE INDEX inventory_token ON inventory (token);

CREATE TABLE inventory_about (
    id INTEGER NOT NULL,
    schema_version INTEGER NOT NULL,
    uuid VARCHAR(36) NOT NULL,
    created DATETIME NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE inventory_act (
    id INTEGER NOT NULL,
    job_id INTEGER NOT NULL,
    batch_id INTEGER,
    act VARCHAR(32) NOT NULL,
    at DATETIME NOT NULL,
    actor VARCHAR(255) NOT NULL,
    reason TEXT,
    detail JSON,
    PRIMARY KEY (id)
);

CREATE INDEX inventory_act_batch ON inventory_act (batch_id);

CREATE TABLE inventory_attempt (
    batch_id INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    token VARCHAR(64),
    worker VARCHAR(255),
    started DATETIME NOT NULL,
    ended DATETIME NOT NULL,
    outcome VARCHAR(16) NOT NULL,
    error TEXT,
    skipped JSON,
    PRIMARY KEY (batch_id, attempt)
);

CREATE TABLE inventory_gap (
    id INTEGER NOT NULL,
    job_id INTEGER NOT NULL,
    uid_from BIGINT NOT NULL,
    uid_to BIGINT NOT NULL,
    held BIGINT NOT NULL,
    first_seen DATETIME NOT NULL,
    mark_number BIGINT,
    mark_time DATETIME,
    closed DATETIME,
    closed_as VARCHAR(16),
    evidence JSON,
    PRIMARY KEY (id)
);

CREATE INDEX inventory_gap_open ON inventory_gap (job_id, uid_from) WHERE closed IS NULL;

CREATE TABLE inventory_job (
    id INTEGER NOT NULL,
    meta_table VARCHAR(255) NOT NULL,
    job VARCHAR(255) NOT NULL,
    frontier BIGINT,
    scanned_through BIGINT,
    claim_number INTEGER NOT NULL,
    publish_number INTEGER NOT NULL,
    lowest_bound BIGINT,
    paused BOOLEAN NOT NULL,
    meta_filter TEXT,
    meta_columns JSON,
    open_gaps INTEGER NOT NULL,
    look_at DATETIME,
    looked_claim INTEGER NOT NULL,
    gap_cursor BIGINT,
    audited_through BIGINT,
    audit_end BIGINT,
    tend_number INTEGER NOT NULL,
    widest_beside BIGINT NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT inventory_job_key UNIQUE (meta_table, job)
);

CREATE TABLE inventory_publication (
    job_id INTEGER NOT NULL,
    number INTEGER NOT NULL,
    batch_id INTEGER NOT NULL,
    replaces JSON,
    published_at DATETIME NOT NULL,
    PRIMARY KEY (job_id, number)
);
