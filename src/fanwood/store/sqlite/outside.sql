-- What comes to runs from outside. Each statement reads or writes a bounded number of rows.

-- name: secret
select cast(value as blob) from setting where name = 'secret';

-- name: number
select cast(value as integer) from setting where name = 'number';

-- name: take_over
update setting set value = case name when 'secret' then :secret else max(cast(value as integer), :number) end
where name in ('secret', 'number');

-- name: how_it_ended
select json_array(state, output, error) from run where id = :id;

-- name: publish
insert into value (run_id, key, value)
select id, :key, :value from run where id = :run and state = 1 and attempt = :attempt
on conflict (run_id, key) do update set value = excluded.value;

-- name: value
select value from value where run_id = :run and key = :key;

-- name: send
insert into message (run_id, number, name, envelope, once) values (:run, :number, :name, :envelope, :once);

-- name: was_sent
select count(*) from message where run_id = :run and once = :once;

-- name: sent
-- The oldest of that name.
select number, envelope from message where run_id = :run and name = :name order by number limit 1;

-- name: received
delete from message where run_id = :run and name = :name and number = :number and once is null;

-- name: received_once
update message set name = '', envelope = '' where run_id = :run and name = :name and number = :number;

-- name: push_event
insert into event (id, number, key, scope, payload, metadata, at, open, digest)
values (:id, :number, :key, :scope, :payload, :metadata, :at, :open, :digest);

-- name: next_shape
-- The first wait after a mark: of another shape than those before. (Bytes, as it may be no text.)
select hex(id), attempt, awaits, cast(input as blob) from run indexed by run_awaiting
where state = 2 and awaits is not null and awaits > :after and awaits < :end
order by awaits limit 1;

-- name: awaiting
-- Waits that an event may end.
select hex(id), attempt, awaits, cast(input as blob) from run indexed by run_awaiting
where state = 2 and awaits is not null and awaits > :after and awaits < :end order by awaits limit +:limit;

-- name: still_waiting
select hex(id), attempt from run where id in (select unhex(value) from json_each(:ids)) and state = 2 and kind >= 10;

-- name: close_event
update event set open = 0 where id = :id;

-- name: forget_events
delete from event where id in (select id from event where at < :before and open = 0 order by number limit +:limit);

-- name: event
select id, key, payload, scope, metadata, at, number, open from event where id = :id;

-- name: event_digest
select digest from event where id = :id;

-- name: open_events
select id, key, payload, scope, metadata, at, number, open from event where open = 1 order by number limit +:limit;

-- name: events
select id, key, payload, scope, metadata, at, number, open from event
where number < :before and at >= :since and (:scope is null or scope = :scope)
order by number desc limit +:limit;

-- name: events_of_key
select id, key, payload, scope, metadata, at, number, open from event
where key = :key and number < :before and at >= :since and (:scope is null or scope = :scope)
order by number desc limit +:limit;
