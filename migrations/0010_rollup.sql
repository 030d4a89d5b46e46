-- Up to where a consumer adds up now, and the last referrer to whom it has: it goes on behind there when it was
-- killed in between.
ALTER TABLE consumers ADD COLUMN until_txid bigint;
ALTER TABLE consumers ADD COLUMN until_seq bigint;
ALTER TABLE consumers ADD COLUMN done_space bigint;
ALTER TABLE consumers ADD COLUMN done_participant uuid;
