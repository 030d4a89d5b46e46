-- Secret addresses that take whatever a form, a shop or a CRM sends, and make
-- conversions of it.
CREATE TABLE inbound_hooks (
    space bigint NOT NULL,
    id uuid NOT NULL,
    name text NOT NULL,
    -- SHA-256 of the secret part of the address.
    token_hash bytea NOT NULL UNIQUE,
    hint text NOT NULL,
    campaign_id uuid,
    mapping text NOT NULL,
    paused boolean NOT NULL DEFAULT FALSE,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    deleted_at bigint,
    PRIMARY KEY (space, id)
) {clustered};

-- Everything that was received, whatever became of it.
CREATE TABLE inbound_messages (
    space bigint NOT NULL,
    id uuid NOT NULL,
    hook_id uuid NOT NULL,
    body text NOT NULL,
    -- `waiting` until it was made a signal of; `unmapped` where the mapping found no lead in it.
    state text NOT NULL CHECK (state IN ('waiting', 'decided', 'unmapped', 'failed')),
    detail text NOT NULL,
    signal_id uuid,
    received_at bigint NOT NULL,
    PRIMARY KEY (space, id)
) {clustered};
CREATE INDEX inbound_messages_hook ON inbound_messages (space, hook_id, id);
CREATE INDEX inbound_messages_waiting ON inbound_messages (received_at) WHERE state = 'waiting';
