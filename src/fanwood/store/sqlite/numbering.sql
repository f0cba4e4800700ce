-- Numbers of events, messages and waits (numbering.py). Spoilt is what is no number: there is one text for each.

-- name: next_number
update setting set value = cast(value as integer) + 1
where name = 'number' and value = cast(cast(value as integer) as text) and cast(value as integer) between 0 and 1 << 61
returning cast(value as integer);

-- name: is_behind
-- Whether the row is gone, spoilt, or less than an event has.
select not exists (
    select 1 from setting
    where name = 'number' and value = cast(cast(value as integer) as text)
      and cast(value as integer) between coalesce((select max(number) from event), 0) and 1 << 61
);

-- name: last_number
-- Of events and messages.
select max(
    coalesce((select max(number) from event where number <= 1 << 61), 0),
    coalesce((select max(number) from message where number <= 1 << 61), 0)
);

-- name: last_mark
-- Of waits, which have theirs in the last 8 bytes of their marks (model/matching.py).
select max(substr(awaits, 33)) from run indexed by run_awaiting
where state = 2 and awaits is not null and length(awaits) = 40 and substr(awaits, 33) < x'2000000000000000';

-- name: set_number
insert into setting (name, value) values ('number', :number) on conflict (name) do update set value = excluded.value;
