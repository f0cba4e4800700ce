-- What comes to runs from outside. Each statement reads or writes a bounded number of rows.

-- name: secret
select value from setting where name = 'secret';

-- name: take_secret
insert into setting (name, value) values ('secret', :secret) on conflict (name) do update set value = excluded.value;

-- name: how_it_ended
select json_array(state, output, error) from run where id = :id;
