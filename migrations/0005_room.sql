-- A person's row changes a few times in its life. Room on its page keeps the new version beside
-- the old one, so that PostgreSQL need not enter it into each of the table's indexes again.
{postgres:ALTER TABLE participants SET (fillfactor = 80);}
