-- What came from another system goes by the number that it had there: programs that know
-- it go on working. `coalesce(number, no)` is the number that the world sees.
ALTER TABLE participants ADD COLUMN number bigint;
CREATE UNIQUE INDEX participants_number ON participants (space, number) WHERE number IS NOT NULL;
ALTER TABLE campaigns ADD COLUMN number bigint;
CREATE UNIQUE INDEX campaigns_number ON campaigns (space, number) WHERE number IS NOT NULL;

-- Reward definitions live in the configuration of their campaign; their numbers stay when they go.
CREATE TABLE definition_numbers (
    space bigint NOT NULL,
    number bigint NOT NULL,
    definition_id uuid NOT NULL,
    campaign_id uuid NOT NULL,
    PRIMARY KEY (space, number)
) {clustered};
CREATE UNIQUE INDEX definition_numbers_id ON definition_numbers (space, definition_id);

-- How far an import from another system has come, so that it can go on after it was interrupted.
CREATE TABLE import_positions (
    space bigint NOT NULL,
    source text NOT NULL,
    page bigint NOT NULL,
    updated_at bigint NOT NULL,
    PRIMARY KEY (space, source)
) {clustered};
