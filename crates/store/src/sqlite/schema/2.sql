-- Where a request's time went, and what caused it; nothing where that was not seen.
ALTER TABLE exemplars ADD COLUMN stages BLOB;
ALTER TABLE exemplars ADD COLUMN origin BLOB;
