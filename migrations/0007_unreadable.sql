-- What is neither JSON nor a form is kept too: its text as a JSON string, and what it was sent as.
-- SQLite cannot change a check, so the table is made anew there.
{postgres:
ALTER TABLE inbound_messages DROP CONSTRAINT inbound_messages_state_check;
ALTER TABLE inbound_messages ADD CONSTRAINT inbound_messages_state_check CHECK (state IN ('waiting', 'decided', 'unmapped', 'unreadable', 'failed'));
ALTER TABLE inbound_messages ADD COLUMN content_type text;
}
{sqlite:
ALTER TABLE inbound_messages RENAME TO inbound_messages_before;
CREATE TABLE inbound_messages (
    space bigint NOT NULL,
    id uuid NOT NULL,
    hook_id uuid NOT NULL,
    body text NOT NULL,
    state text NOT NULL CHECK (state IN ('waiting', 'decided', 'unmapped', 'unreadable', 'failed')),
    detail text NOT NULL,
    signal_id uuid,
    received_at bigint NOT NULL,
    content_type text,
    PRIMARY KEY (space, id)
) WITHOUT ROWID;
INSERT INTO inbound_messages (space, id, hook_id, body, state, detail, signal_id, received_at)
    SELECT space, id, hook_id, body, state, detail, signal_id, received_at FROM inbound_messages_before;
DROP TABLE inbound_messages_before;
CREATE INDEX inbound_messages_hook ON inbound_messages (space, hook_id, id);
CREATE INDEX inbound_messages_waiting ON inbound_messages (received_at) WHERE state = 'waiting';
}
-- What a replay of a hook looks through, without reading what went well.
CREATE INDEX inbound_messages_undecided ON inbound_messages (space, hook_id, id) WHERE state IN ('unmapped', 'unreadable', 'failed');
