alter table plays add column year integer;
update plays set year = 1611 where title = 'The Winter''s Tale';
update plays set year = 1610 where title = 'Cymbeline';
