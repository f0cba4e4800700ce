-- How far hooks have been told of failures that nobody executed: a number for each set of tasks, in the table of
-- settings. The text is "how far, until when somebody has the turn to tell".

-- name: turns
select name, value from setting where name >= 'told:' and name < 'told;' order by name;

-- name: take_turn
-- If nobody has changed it since it was read.
insert into setting (name, value) values (:name, :told)
on conflict (name) do update set value = excluded.value where setting.value = :seen
returning name;

-- name: end_turn
update setting set value = :told where name = :name;
