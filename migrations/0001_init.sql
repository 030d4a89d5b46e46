-- Written once for both databases; the store's README names the few {words} that differ.
--
-- Every table is keyed by its space first: one side (live or test) of a workspace.
-- Times are milliseconds since 1970 in UTC, money is integer minor units, JSON is text.
-- Nothing here is unique by an `if`: what must never happen twice is a unique key.

CREATE TABLE workspaces (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    live_space bigint NOT NULL UNIQUE,
    test_space bigint NOT NULL UNIQUE,
    -- How far the test side's clock is ahead of the real one.
    test_clock_ahead_ms bigint NOT NULL DEFAULT 0,
    created_at bigint NOT NULL
);

-- The installation's own facts, such as the secret that visitor cookies are signed with.
CREATE TABLE installation (
    key text PRIMARY KEY,
    value text NOT NULL
);

CREATE TABLE api_keys (
    id uuid PRIMARY KEY,
    space bigint NOT NULL,
    workspace_id uuid NOT NULL REFERENCES workspaces (id),
    name text NOT NULL,
    -- SHA-256 of the key; the key itself is shown once and never kept.
    hash bytea NOT NULL UNIQUE,
    hint text NOT NULL,
    scopes text NOT NULL,
    created_at bigint NOT NULL,
    last_used_at bigint,
    revoked_at bigint
);
CREATE INDEX api_keys_space ON api_keys (space, id);

CREATE TABLE campaigns (
    no {no},
    space bigint NOT NULL,
    id uuid NOT NULL,
    code text NOT NULL,
    name text NOT NULL,
    status text NOT NULL CHECK (status IN ('draft', 'live', 'paused', 'ended')),
    status_since bigint NOT NULL,
    version bigint NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    deleted_at bigint,
    {pk} (space, id)
);

CREATE TABLE campaign_versions (
    space bigint NOT NULL,
    campaign_id uuid NOT NULL,
    version bigint NOT NULL,
    configuration text NOT NULL,
    note text NOT NULL,
    actor text NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (space, campaign_id, version)
);

-- Every code that was ever given, of referrers and of campaigns: never deleted, never
-- given again. One name space for the installation, because links share its host.
CREATE TABLE codes (
    code_key text PRIMARY KEY,
    code text NOT NULL,
    space bigint NOT NULL,
    campaign_id uuid NOT NULL,
    participant_id uuid
) {clustered};

-- A person in a campaign: as a referrer `ref_…`, as a lead `lead_…`, or both.
CREATE TABLE participants (
    no {no},
    space bigint NOT NULL,
    id uuid NOT NULL,
    campaign_id uuid NOT NULL,
    -- Which addresses are one person, as the campaign's duplicate policy has it.
    identity text NOT NULL,
    email text NOT NULL,
    mailbox text NOT NULL,
    first_name text NOT NULL,
    last_name text NOT NULL,
    external_id text,
    fields text NOT NULL,
    source text NOT NULL,
    code text NOT NULL,
    referrer_since bigint,
    suspended_at bigint,
    -- The last suspension that has ended: what happened then still earns nothing.
    was_suspended_from bigint,
    was_suspended_until bigint,
    leads bigint NOT NULL DEFAULT 0,
    qualified_leads bigint NOT NULL DEFAULT 0,
    lead_status text CHECK (lead_status IN ('pending', 'qualified', 'rejected')),
    lead_since bigint,
    referrer_id uuid,
    link_used_at bigint,
    qualified_at bigint,
    first_qualified_at bigint,
    qualified_by text CHECK (qualified_by IN ('direct', 'conversion')),
    status_reason text,
    risk text NOT NULL DEFAULT '',
    ip text,
    visitor uuid,
    unsubscribed_at bigint,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    {pk} (space, id)
);
CREATE UNIQUE INDEX participants_identity ON participants (space, campaign_id, identity);
CREATE INDEX participants_identity_anywhere ON participants (space, identity);
CREATE INDEX participants_referrers ON participants (space, referrer_since, id) WHERE referrer_since IS NOT NULL;
CREATE INDEX participants_leads ON participants (space, lead_since, id) WHERE lead_since IS NOT NULL;
CREATE INDEX participants_of_referrer ON participants (space, referrer_id, lead_since) WHERE referrer_id IS NOT NULL;
-- Network addresses that are still to be forgotten.
CREATE INDEX participants_addresses ON participants (created_at) WHERE ip IS NOT NULL;
CREATE UNIQUE INDEX participants_external ON participants (space, campaign_id, external_id) WHERE external_id IS NOT NULL;

-- What somebody told us, with what we made of it: immutable.
CREATE TABLE signals (
    space bigint NOT NULL,
    id uuid NOT NULL,
    -- The business key: the same thing told again is the same signal.
    key text NOT NULL,
    kind text NOT NULL,
    source text NOT NULL,
    actor text NOT NULL,
    campaign_id uuid,
    participant_id uuid,
    occurred_at bigint NOT NULL,
    received_at bigint NOT NULL,
    payload text NOT NULL,
    outcome text NOT NULL,
    reason text NOT NULL,
    version bigint,
    checks text NOT NULL,
    effects text NOT NULL,
    PRIMARY KEY (space, id)
) {clustered};
CREATE UNIQUE INDEX signals_key ON signals (space, key);
CREATE INDEX signals_participant ON signals (space, participant_id, id) WHERE participant_id IS NOT NULL;

CREATE TABLE conversions (
    space bigint NOT NULL,
    id uuid NOT NULL,
    campaign_id uuid NOT NULL,
    participant_id uuid NOT NULL,
    external_id text NOT NULL,
    kind text NOT NULL,
    goal text,
    amount_minor bigint,
    currency text,
    refunded_minor bigint NOT NULL DEFAULT 0,
    refunded_at bigint,
    counts boolean NOT NULL,
    reason text NOT NULL,
    properties text NOT NULL,
    occurred_at bigint NOT NULL,
    signal_id uuid NOT NULL,
    source text NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (space, id)
) {clustered};
CREATE UNIQUE INDEX conversions_external ON conversions (space, campaign_id, external_id);
CREATE INDEX conversions_participant ON conversions (space, participant_id, occurred_at);

CREATE TABLE rewards (
    no {no},
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
    {pk} (space, id),
    CONSTRAINT rewards_once UNIQUE (space, definition_id, cause, beneficiary_id)
);
CREATE INDEX rewards_lead ON rewards (space, lead_id);
CREATE INDEX rewards_beneficiary ON rewards (space, beneficiary_id, definition_id, due_at);
CREATE INDEX rewards_state ON rewards (space, state, id);
CREATE INDEX rewards_hold ON rewards (hold_until) WHERE state = 'on_hold' AND hold_until IS NOT NULL;

-- The whole life of a reward. Only appended to; the money of a reversal is negative.
CREATE TABLE reward_entries (
    space bigint NOT NULL,
    reward_id uuid NOT NULL,
    n bigint NOT NULL,
    state text NOT NULL,
    reason text NOT NULL,
    note text,
    amount_minor bigint,
    currency text,
    actor text NOT NULL,
    signal_id uuid NOT NULL,
    at bigint NOT NULL,
    PRIMARY KEY (space, reward_id, n)
) {clustered};

CREATE TABLE coupons (
    no {no},
    space bigint NOT NULL,
    definition_id uuid NOT NULL,
    code text NOT NULL,
    code_key text NOT NULL,
    reward_id uuid,
    assigned_at bigint,
    created_at bigint NOT NULL,
    {pk} (space, definition_id, code_key)
);
CREATE INDEX coupons_free ON coupons (space, definition_id, no) WHERE reward_id IS NULL;
CREATE INDEX coupons_code ON coupons (space, code_key);

-- How full each pool is. Who takes a coupon locks the row, so that pools are never
-- overdrawn and warned of at the right coupon.
CREATE TABLE coupon_pools (
    space bigint NOT NULL,
    definition_id uuid NOT NULL,
    total bigint NOT NULL,
    used bigint NOT NULL,
    PRIMARY KEY (space, definition_id)
) {clustered};

-- What is reserved of a campaign's budget in one period (its first instant).
CREATE TABLE budgets (
    space bigint NOT NULL,
    campaign_id uuid NOT NULL,
    currency text NOT NULL,
    period bigint NOT NULL,
    used_minor bigint NOT NULL,
    PRIMARY KEY (space, campaign_id, currency, period)
) {clustered};

-- What happened, for the world: read in the order (txid, seq), which on PostgreSQL is
-- the order of commits as far as {settled} rows go.
CREATE TABLE events (
    seq {seq},
    txid {txid},
    space bigint NOT NULL,
    id uuid NOT NULL,
    type text NOT NULL,
    campaign_id uuid,
    participant_id uuid,
    source text NOT NULL,
    -- For the roll-ups: whose referral it was, and the money that moved.
    referrer_id uuid,
    amount_minor bigint,
    currency text,
    -- For the roll-ups: how many it tells of. 0: a reward that went back in part is one all the same.
    count bigint NOT NULL,
    body text NOT NULL,
    created_at bigint NOT NULL,
    {pk} (space, id)
);
{sqlite:CREATE INDEX events_feed ON events (space, seq);}
{postgres:CREATE INDEX events_feed ON events (txid, seq);}

-- How far each consumer of the events has come.
CREATE TABLE consumers (
    name text PRIMARY KEY,
    txid bigint NOT NULL,
    seq bigint NOT NULL,
    updated_at bigint NOT NULL
);

-- Appended to, in batches; no index beside its order, because a busy day has millions.
CREATE TABLE visits (
    seq {seq},
    txid {txid},
    space bigint NOT NULL,
    campaign_id uuid NOT NULL,
    participant_id uuid NOT NULL,
    visitor uuid,
    at bigint NOT NULL,
    referring_host text,
    device text NOT NULL,
    bot boolean NOT NULL,
    source text NOT NULL,
    ip text
);
{postgres:CREATE INDEX visits_feed ON visits (txid, seq);}

-- How many batches of visits each running process has written: a batch whose commit was not
-- answered is not written again.
CREATE TABLE recorders (
    id uuid NOT NULL,
    batches bigint NOT NULL,
    updated_at bigint NOT NULL,
    PRIMARY KEY (id)
);

-- Roll-ups: one row per campaign, UTC day, metric, source and currency; and one per
-- referrer. Written by the consumer "statistics" together with its position.
CREATE TABLE statistics_daily (
    space bigint NOT NULL,
    campaign_id uuid NOT NULL,
    day bigint NOT NULL,
    metric text NOT NULL,
    source text NOT NULL,
    currency text NOT NULL,
    count bigint NOT NULL,
    amount_minor bigint NOT NULL,
    PRIMARY KEY (space, campaign_id, day, metric, source, currency)
) {clustered};
CREATE TABLE statistics_referrers (
    space bigint NOT NULL,
    campaign_id uuid NOT NULL,
    participant_id uuid NOT NULL,
    visits bigint NOT NULL,
    leads bigint NOT NULL,
    qualified bigint NOT NULL,
    rewarded bigint NOT NULL,
    PRIMARY KEY (space, participant_id)
) {clustered};
CREATE INDEX statistics_referrers_top ON statistics_referrers (space, campaign_id, qualified, leads);

-- Answers kept for the key of the request that they answer.
CREATE TABLE idempotency (
    space bigint NOT NULL,
    key text NOT NULL,
    request_hash bytea NOT NULL,
    status bigint NOT NULL,
    body text NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (space, key)
) {clustered};
CREATE INDEX idempotency_age ON idempotency (created_at);

-- Counts every change of what nodes keep in memory (keys, campaigns, endpoints).
CREATE TABLE generations (
    name text PRIMARY KEY,
    n bigint NOT NULL
);
