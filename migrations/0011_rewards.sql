-- A beneficiary's rewards are found by the constraint that makes them unique: one index less to change with each.
-- SQLite cannot change a constraint, so the table is made anew there.
{postgres:
ALTER TABLE rewards DROP CONSTRAINT rewards_once;
ALTER TABLE rewards ADD CONSTRAINT rewards_once UNIQUE (space, beneficiary_id, definition_id, cause);
DROP INDEX rewards_beneficiary;
}
{sqlite:
ALTER TABLE rewards RENAME TO rewards_before;
DROP INDEX rewards_lead;
DROP INDEX rewards_beneficiary;
DROP INDEX rewards_state;
DROP INDEX rewards_hold;
CREATE TABLE rewards (
    no integer PRIMARY KEY AUTOINCREMENT,
    space bigint NOT NULL,
    id uuid NOT NULL,
    campaign_id uuid NOT NULL,
    definition_id uuid NOT NULL,
    version bigint NOT NULL,
    beneficiary_id uuid NOT NULL,
    role text NOT NULL CHECK (role IN ('referrer', 'lead')),
    lead_id uuid NOT NULL,
    -- What the reward is for. With definition and beneficiary it is unique.
    cause text NOT NULL,
    conversion_id uuid,
    kind text NOT NULL CHECK (kind IN ('fixed', 'commission', 'custom', 'coupon')),
    amount_minor bigint,
    currency text,
    metric text,
    units bigint,
    coupon text,
    basis_minor bigint,
    basis_currency text,
    reversed_minor bigint NOT NULL DEFAULT 0,
    state text NOT NULL,
    reason text NOT NULL,
    note text,
    hold_until bigint,
    recalled boolean NOT NULL DEFAULT FALSE,
    -- The budget period whose money it reserves.
    budget_period bigint,
    due_at bigint NOT NULL,
    issued_at bigint,
    attempts bigint NOT NULL DEFAULT 0,
    signal_id uuid NOT NULL,
    updated_at bigint NOT NULL,
    UNIQUE (space, id),
    CONSTRAINT rewards_once UNIQUE (space, beneficiary_id, definition_id, cause)
);
INSERT INTO rewards (no, space, id, campaign_id, definition_id, version, beneficiary_id, role, lead_id, cause, conversion_id, kind, amount_minor, currency, metric, units,
    coupon, basis_minor, basis_currency, reversed_minor, state, reason, note, hold_until, recalled, budget_period, due_at, issued_at, attempts, signal_id, updated_at)
SELECT no, space, id, campaign_id, definition_id, version, beneficiary_id, role, lead_id, cause, conversion_id, kind, amount_minor, currency, metric, units,
    coupon, basis_minor, basis_currency, reversed_minor, state, reason, note, hold_until, recalled, budget_period, due_at, issued_at, attempts, signal_id, updated_at
FROM rewards_before ORDER BY no;
DROP TABLE rewards_before;
CREATE INDEX rewards_lead ON rewards (space, lead_id);
CREATE INDEX rewards_state ON rewards (space, state, id);
CREATE INDEX rewards_hold ON rewards (hold_until) WHERE state = 'on_hold' AND hold_until IS NOT NULL;
}
