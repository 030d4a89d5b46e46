-- A referrer's row gains with every batch of visits. Room on its page keeps the new version beside the
-- old one, so that PostgreSQL need not enter it into the ranking again: without, 10,000 referrers with a
-- million visits had 230,000 entries there, and the best twenty were found by sorting everybody.
{postgres:ALTER TABLE statistics_referrers SET (fillfactor = 70);}
