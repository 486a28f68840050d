create table plays (title text primary key);
insert into plays values ('The Winter''s Tale'), ('Cymbeline');
