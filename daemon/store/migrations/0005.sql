-- How far a turn is stands on its row; turns that are recorded already have said nothing.

ALTER TABLE turns ADD COLUMN progress BLOB;
