-- Where the lead came from that an event is about, for the roll-ups: to read it out of the body took PostgreSQL
-- a tenth of the time of a qualification. What was rolled up before does not need it.
ALTER TABLE events ADD COLUMN lead_source text;
UPDATE events SET lead_source = {sqlite:json_extract(body, '$.lead.source')}{postgres:CAST(body AS json) -> 'lead' ->> 'source'}
WHERE {postgres:(txid, seq) > (SELECT c.txid, c.seq FROM consumers c WHERE c.name = 'statistics.events')}{sqlite:seq > (SELECT c.seq FROM consumers c WHERE c.name = 'statistics.events')};
