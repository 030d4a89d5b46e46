-- Who is told what happens, and what became of telling them.

CREATE TABLE endpoints (
    space bigint NOT NULL,
    id uuid NOT NULL,
    url text NOT NULL,
    description text NOT NULL,
    -- Words of event types with spaces between; NULL is all but those that must be asked for.
    types text,
    campaign_id uuid,
    -- Words with commas between.
    person_source text,
    definition_id uuid,
    -- Sealed: see engine/vault.rs. Headers and credentials are JSON lists of pairs.
    headers bytea,
    credentials bytea,
    secret bytea NOT NULL,
    -- Signed with as well, until then: receivers change over without losing anything.
    previous_secret bytea,
    previous_until bigint,
    -- Whether one person's events go one after the other.
    in_order boolean NOT NULL,
    rate_per_second bigint,
    concurrency bigint NOT NULL,
    shape text NOT NULL,
    -- What goes into a flat body: JSON.
    layout text,
    status text NOT NULL CHECK (status IN ('active', 'failing', 'disabled', 'gone')),
    failing_since bigint,
    warned_at bigint,
    source text NOT NULL,
    created_by text NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    deleted_at bigint,
    PRIMARY KEY (space, id)
);
-- The same address told again by the same key is the same endpoint.
CREATE UNIQUE INDEX endpoints_once ON endpoints (space, created_by, url) WHERE deleted_at IS NULL;

-- One row for each event and endpoint, written in the transaction of the event. Its id is
-- made from theirs, so there cannot be two.
CREATE TABLE deliveries (
    -- The order of events within one transaction and of one person.
    seq {seq},
    space bigint NOT NULL,
    id uuid NOT NULL,
    endpoint_id uuid NOT NULL,
    event_id uuid NOT NULL,
    type text NOT NULL,
    participant_id uuid,
    in_order boolean NOT NULL,
    state text NOT NULL CHECK (state IN ('due', 'delivered', 'exhausted', 'skipped')),
    reason text,
    attempts bigint NOT NULL DEFAULT 0,
    -- When to try; while a node has it (lease_by), until when it may. NULL when nothing is to be done.
    due_at bigint,
    lease_by uuid,
    status bigint,
    error text,
    created_at bigint NOT NULL,
    finished_at bigint,
    {pk} (space, id)
);
CREATE INDEX deliveries_due ON deliveries (endpoint_id, due_at, seq) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_in_order ON deliveries (endpoint_id, participant_id, seq) WHERE due_at IS NOT NULL AND in_order;
CREATE INDEX deliveries_of_endpoint ON deliveries (endpoint_id, seq);

-- Each try.
CREATE TABLE delivery_attempts (
    space bigint NOT NULL,
    delivery_id uuid NOT NULL,
    at bigint NOT NULL,
    duration_ms bigint NOT NULL,
    url text NOT NULL,
    -- Names of the endpoint's own headers; their values are secrets.
    header_names text NOT NULL,
    status bigint,
    error text,
    -- The first 4 KiB of the answer.
    response text,
    PRIMARY KEY (space, delivery_id, at)
) {clustered};

-- Tasks that send again what an endpoint has missed.
CREATE TABLE replays (
    space bigint NOT NULL,
    id uuid NOT NULL,
    endpoint_id uuid NOT NULL,
    since bigint NOT NULL,
    until bigint NOT NULL,
    -- The last event that was looked at.
    after_event uuid NOT NULL,
    looked_at bigint NOT NULL,
    queued bigint NOT NULL,
    created_at bigint NOT NULL,
    finished_at bigint,
    PRIMARY KEY (space, id)
);
CREATE INDEX replays_open ON replays (id) WHERE finished_at IS NULL;
