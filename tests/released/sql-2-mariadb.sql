CREATE TABLE inventory (
    id BIGINT NOT NULL AUTO_INCREMENT,
    meta_table VARCHAR(255) COLLATE utf8mb4_nopad_bin NOT NULL,
    job VARCHAR(255) COLLATE utf8mb4_nopad_bin NOT NULL,
    job_identifier MEDIUMTEXT,
    job_result_item JSON,
    processing_start DATETIME(6) NOT NULL,
    processing_end DATETIME(6),
    batch_id_start BIGINT NOT NULL,
    batch_id_end BIGINT NOT NULL,
    batch_weight NUMERIC(38, 9),
    batch_count INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    status VARCHAR(16) NOT NULL,
    logging MEDIUMTEXT,
    config JSON NOT NULL,
    job_id BIGINT NOT NULL,
    kind VARCHAR(16) NOT NULL,
    claim_number BIGINT,
    range_lo BIGINT,
    uids MEDIUMTEXT NOT NULL,
    digest VARCHAR(64) NOT NULL,
    charged INTEGER NOT NULL,
    losses INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    token VARCHAR(64) COLLATE utf8mb4_nopad_bin,
    worker VARCHAR(255),
    due_at DATETIME(6),
    publish_number BIGINT,
    replaces JSON,
    superseded_by BIGINT,
    PRIMARY KEY (id)
)ENGINE=InnoDB CHARSET=utf8mb4;

CREATE INDEX inventory_beside ON inventory (job_id, range_lo, batch_id_start);

CREATE UNIQUE INDEX inventory_claim ON inventory (job_id, claim_number);

CREATE INDEX inventory_due ON inventory (job_id, status, due_at);

CREATE UNIQUE INDEX inventory_range ON inventory (job_id, range_lo);

CREATE UNIQUE INDEX inventory_token ON inventory (token);

CREATE TABLE inventory_about (
    id INTEGER NOT NULL,
    schema_version INTEGER NOT NULL,
    uuid VARCHAR(36) NOT NULL,
    created DATETIME(6) NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE inventory_act (
    id BIGINT NOT NULL AUTO_INCREMENT,
    job_id BIGINT NOT NULL,
    batch_id BIGINT,
    act VARCHAR(32) NOT NULL,
    at DATETIME(6) NOT NULL,
    actor VARCHAR(255) NOT NULL,
    reason MEDIUMTEXT,
    detail JSON,
    PRIMARY KEY (id)
)ENGINE=InnoDB CHARSET=utf8mb4;

CREATE INDEX inventory_act_batch ON inventory_act (batch_id);

CREATE TABLE inventory_attempt (
    batch_id BIGINT NOT NULL,
    attempt INTEGER NOT NULL,
    token VARCHAR(64),
    worker VARCHAR(255),
    started DATETIME(6) NOT NULL,
    ended DATETIME(6) NOT NULL,
    outcome VARCHAR(16) NOT NULL,
    error MEDIUMTEXT,
    skipped JSON,
    PRIMARY KEY (batch_id, attempt)
)ENGINE=InnoDB CHARSET=utf8mb4;

CREATE TABLE inventory_gap (
    id BIGINT NOT NULL AUTO_INCREMENT,
    job_id BIGINT NOT NULL,
    uid_from BIGINT NOT NULL,
    uid_to BIGINT NOT NULL,
    held BIGINT NOT NULL,
    first_seen DATETIME(6) NOT NULL,
    mark_number BIGINT,
    mark_time DATETIME(6),
    closed DATETIME(6),
    closed_as VARCHAR(16),
    evidence JSON,
    PRIMARY KEY (id)
)ENGINE=InnoDB CHARSET=utf8mb4;

CREATE INDEX inventory_gap_open ON inventory_gap (job_id, closed, uid_from);

CREATE TABLE inventory_job (
    id BIGINT NOT NULL AUTO_INCREMENT,
    meta_table VARCHAR(255) COLLATE utf8mb4_nopad_bin NOT NULL,
    job VARCHAR(255) COLLATE utf8mb4_nopad_bin NOT NULL,
    frontier BIGINT,
    scanned_through BIGINT,
    claim_number BIGINT NOT NULL,
    publish_number BIGINT NOT NULL,
    lowest_bound BIGINT,
    paused BOOL NOT NULL,
    meta_filter MEDIUMTEXT,
    meta_columns JSON,
    open_gaps INTEGER NOT NULL,
    look_at DATETIME(6),
    looked_claim BIGINT NOT NULL,
    gap_cursor BIGINT,
    audited_through BIGINT,
    audit_end BIGINT,
    tend_number BIGINT NOT NULL,
    widest_beside BIGINT NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT inventory_job_key UNIQUE (meta_table, job)
)ENGINE=InnoDB CHARSET=utf8mb4;

CREATE TABLE inventory_publication (
    job_id BIGINT NOT NULL,
    number BIGINT NOT NULL,
    batch_id BIGINT NOT NULL,
    replaces JSON,
    published_at DATETIME(6) NOT NULL,
    PRIMARY KEY (job_id, number)
);
