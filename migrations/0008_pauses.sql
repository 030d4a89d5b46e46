-- When a campaign was not live, as [[from, until], …] in milliseconds: paused or ended, until it was
-- resumed. What happened then does not count, whenever it is told.
ALTER TABLE campaigns ADD COLUMN pauses text NOT NULL DEFAULT '[]';

-- Pauses from before, of which every change of a status has its signal.
CREATE TABLE status_changes AS SELECT space, campaign_id, id, received_at, payload FROM signals WHERE kind = 'campaign.status';
UPDATE campaigns SET pauses = coalesce((
    SELECT '[' || string_agg('[' || p.received_at || ',' || (
        SELECT min(n.received_at) FROM status_changes n WHERE n.space = p.space AND n.campaign_id = p.campaign_id AND n.id > p.id
    ) || ']', ',') || ']'
    FROM status_changes p
    WHERE p.space = campaigns.space AND p.campaign_id = campaigns.id AND p.payload IN ('{"status":"paused"}', '{"status":"ended"}')
), '[]');
DROP TABLE status_changes;
