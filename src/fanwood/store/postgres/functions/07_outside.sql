-- What comes from outside of a run, and what it says of itself: values, messages, events, promises, sleeps cut short.

-- A run says something of itself; false if that attempt is over.
create function fw_publish(p_run bytea, p_attempt integer, p_key text, p_value text) returns boolean language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
begin
    perform from run r where r.id = p_run and r.state = 1 and r.attempt = p_attempt for share;
    if not found then
        return false;
    end if;
    insert into value (run_id, key, value) values (p_run, p_key, p_value)
    on conflict (run_id, key) do update set value = excluded.value;
    return true;
end $$;

-- The messages of one name are given to the receives of it that wait, in the order in which they were sent, and asked for: one
-- by one, as long as there is a message, so that those that wait on are neither read nor locked. Under the lock of the inbox
-- (see fw_share_keys): a receive that is not committed waits for it, or it for that. more: there may be something left to be done.
create function fw_deliver(
    p_now bigint, p_run bytea, p_name text, p_from bytea, p_end bytea, p_limit integer, out told bigint[], out more boolean
) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    n integer;
    wait record;
    sent record;
    place bytea := p_from;
    number_ bigint := -1;
    closed bytea[];
    told_ bigint[];
begin
    told := '{}'; more := false;
    for n in 1 .. p_limit loop
        select m.number, m.envelope, m.once into sent from message m
        where m.run_id = p_run and m.name = p_name and m.number > number_ order by m.number limit 1;
        if not found then
            return;
        end if;
        select r.id, r.ctid as place, r.awaits as mark, case when r.input ~ (
            '^\{"key":"([^"\\\u0001-\u001f]|\\["\\/bfnrt]|\\u00(0[1-9a-f]|1[0-9a-f]))*","scope":null,"match":\{\},"expression":null\}$'
        ) then (r.input::json) ->> 'key' end as name into wait from run r
        where r.state = 2 and r.awaits is not null and r.awaits > place and r.awaits < p_end
        order by r.awaits limit 1 for update;
        if not found then
            return;
        end if;
        place := wait.mark;
        select c.closed, c.told into closed, told_ from fw_cut(p_now, array[wait.id], array[wait.place]) c;
        told := told || told_;
        continue when cardinality(closed) > 0;
        if wait.name is distinct from p_name then  -- a text that somebody has spoilt must not stop all the others
            told := told || fw_fire(p_now, array[wait.id], 2::smallint, 9::smallint, null, fw_unreadable_error());
            continue;
        end if;
        told := told || fw_fire(p_now, array[wait.id], 2::smallint, 8::smallint, sent.envelope);
        number_ := sent.number;
        if sent.once is null then
            delete from message m where m.run_id = p_run and m.name = p_name and m.number = sent.number;
        else
            update message m set name = '', envelope = ''
            where m.run_id = p_run and m.name = p_name and m.number = sent.number;
        end if;
    end loop;
    more := true;
end $$;

-- A message is sent to a run; once under `p_once`, if that is given. 0: it is; 1: the run has ended, or ends with something
-- above it; null: there is none.
create function fw_send(
    p_now bigint, p_lock bigint, p_run bytea, p_name text, p_envelope text, p_once bytea, p_from bytea,
    p_end bytea, p_limit integer, out answer integer, out told bigint[], out more boolean
) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    before smallint;
begin
    told := '{}'; more := false;
    perform pg_advisory_xact_lock(p_lock);
    select r.state into before from run r where r.id = p_run for share;
    if not found then
        return;
    end if;
    if p_once is not null and exists (select from message m where m.run_id = p_run and m.once = p_once) then
        answer := 0; more := true;  -- nobody was told, if this comes for that the answer was lost
        return;
    end if;
    answer := case when before >= 8 or (select cardinality(c.ids) from fw_closed(array[p_run]) c) > 0 then 1 else 0 end;
    if answer = 0 then
        insert into message (run_id, number, name, envelope, once)
        values (p_run, nextval('event_number'), p_name, p_envelope, p_once);
        select d.told, d.more into told, more from fw_deliver(p_now, p_run, p_name, p_from, p_end, p_limit) d;
    end if;
end $$;

-- Events are kept, under the locks of their keys (see fw_share_keys); p_open: whether there is more to be done of them. Of
-- each: its number; of one whose id was there already its digest. Rows of JSON.
create function fw_push(p_now bigint, p_keys bigint[], p_events text, p_open smallint default 1)
returns table (event_id text, event_number bigint, kept_digest bytea) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    here record;
    before record;
    drawn bigint;
begin
    perform pg_advisory_xact_lock(v.key) from (select distinct x.key from unnest(p_keys) x (key) order by 1 offset 0) v;
    for here in
        select * from json_to_recordset(p_events::json) x (
            id text, key text, scope text, payload text, metadata text, digest text
        )
    loop
        drawn := nextval('event_number');
        insert into event (id, number, key, scope, payload, metadata, at, open, digest)
        values (here.id, drawn, here.key, here.scope, here.payload, here.metadata, p_now, p_open, decode(here.digest, 'hex'))
        on conflict do nothing;
        if found then
            return query select here.id, drawn, null::bytea;
        else
            select e.number, e.digest into before from event e where e.id = here.id;
            return query select here.id, before.number, before.digest;
        end if;
    end loop;
end $$;

-- Of each shape that is waited for between two marks one wait, with its mark and what it wants.
create function fw_shapes(p_from bytea, p_end bytea, p_most bytea)
returns table (wait_id bytea, mark bytea, wanted text) language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    place bytea := p_from;
begin
    loop
        select r.id, r.awaits, r.input into wait_id, mark, wanted from run r
        where r.state = 2 and r.awaits is not null and r.awaits > place and r.awaits < p_end
        order by r.awaits limit 1;
        exit when not found;
        return next;
        place := substr(mark, 1, 16) || p_most;
    end loop;
end $$;

-- Waits between these marks end, at most so many in all, each with the output beside its marks; what others hold at this
-- moment (who is suspended for one, for example) is passed by, unless nothing else is left (p_waits): then it is waited for,
-- one at a time. How many; between which marks some are left (numbers, from 1); and which have ended, between which marks.
create function fw_end_waits(
    p_now bigint, p_from bytea[], p_end bytea[], p_outputs text[], p_limit integer, p_waits boolean,
    out ended integer, out left_ integer[], out told bigint[], out done bytea[], out done_by integer[]
) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    n integer;
    here record;
    ids bytea[] := '{}';
    places tid[] := '{}';
    which integer[] := '{}';
    closed bytea[];
begin
    left_ := '{}';
    for n in 1 .. coalesce(cardinality(p_from), 0) loop
        exit when cardinality(ids) >= p_limit;
        select array_agg(w.id) as ids, array_agg(w.place) as places into here from (
            select r.id, r.ctid as place from run r
            where r.state = 2 and r.awaits is not null and r.awaits > p_from[n] and r.awaits < p_end[n]
              and r.id <> all (ids)
            order by r.awaits limit p_limit - cardinality(ids) for update skip locked
        ) w;
        if here.ids is null and p_waits and cardinality(ids) = 0 then
            select array[w.id] as ids, array[w.place] as places into here from (
                select r.id, r.ctid as place from run r
                where r.state = 2 and r.awaits is not null and r.awaits > p_from[n] and r.awaits < p_end[n]
                order by r.awaits limit 1 for update
            ) w;
        end if;
        if cardinality(here.ids) > 0 then
            ids := ids || here.ids; places := places || here.places; which := which || array_fill(n, array[cardinality(here.ids)]);
        end if;
    end loop;
    ended := cardinality(ids); done := ids; done_by := which;
    select c.closed, c.told into closed, told from fw_cut(p_now, done, places) c;
    if cardinality(closed) > 0 then
        select coalesce(array_agg(v.id), '{}'), coalesce(array_agg(v.n), '{}') into done, done_by
        from unnest(ids, which) v (id, n) where v.id <> all (closed);
    end if;
    told := told || fw_fire(
        p_now, done, 2::smallint, p_outputs => array(select p_outputs[v.n] from unnest(done_by) v (n))
    );
    for n in 1 .. coalesce(cardinality(p_from), 0) loop
        if exists (
            select from run r
            where r.state = 2 and r.awaits is not null and r.awaits > p_from[n] and r.awaits < p_end[n]
        ) then
            left_ := left_ || n;
        end if;
    end loop;
end $$;

-- These waits end, if they wait still.
create function fw_fulfil(p_now bigint, p_ids bytea[], p_output text) returns bigint[] language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    ids bytea[];
    places tid[];
    closed bytea[];
    told bigint[];
begin
    select array_agg(w.id), array_agg(w.place) into ids, places from (
        select r.id, r.ctid as place from run r
        where r.id = any (p_ids) and r.state = 2 and r.kind >= 10 order by r.id for update
    ) w;
    if ids is null then
        return '{}';
    end if;
    select c.closed, c.told into closed, told from fw_cut(p_now, ids, places) c;
    return told || fw_fire(
        p_now, array(select v.id from unnest(ids) v (id) where v.id <> all (closed)), 2::smallint, 8::smallint, p_output
    );
end $$;

-- A promise is settled, unless it has ended, or ends with something above it that is closed. How it ended.
create function fw_settle(
    p_id bytea, p_now bigint, p_state smallint, p_output text, p_error text,
    out done boolean, out state_ smallint, out output_ text, out error_ text, out told bigint[]
) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    waiting constant smallint := 2;
    why text;
begin
    told := '{}';
    perform from run r where r.id = p_id and r.state = waiting for update;
    done := found;
    if done then
        select c.reasons[1] into why from fw_closed(array[p_id]) c;
        if why is not null then
            done := false; state_ := 10; error_ := why;
            return;
        end if;
        told := fw_fire(p_now, array[p_id], 2::smallint, p_state, p_output, p_error);
    end if;
    select r.state, r.output, r.error into state_, output_, error_ from run r where r.id = p_id;
end $$;

-- A sleep ends now, unless it has ended, or ends with something above it that is closed.
create function fw_wake(p_id bytea, p_now bigint, out woken boolean, out told bigint[]) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    waiting constant smallint := 2;
begin
    woken := false; told := '{}';
    perform from run r where r.id = p_id and r.state = waiting for update;
    if found and (select cardinality(c.ids) from fw_closed(array[p_id]) c) = 0 then
        woken := true;
        told := fw_fire(p_now, array[p_id], 2::smallint);
    end if;
end $$;

-- What `fw_shapes` says of several keys, each between two marks: [[which of them, mark, what it wants], ...].
create function fw_shapes_of(p_from bytea[], p_end bytea[], p_most bytea) returns text language plpgsql
set search_path from current set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
begin
    return (
        select coalesce(json_agg(json_build_array(v.n, encode(s.mark, 'hex'), s.wanted))::text, '[]')
        from unnest(p_from, p_end) with ordinality v (low, high, n)
        cross join lateral fw_shapes(v.low, v.high, p_most) s
    );
end $$;

-- Events are kept, and the waits end that they end, in one statement: `fw_push` and what follows on it, for who has looked
-- which shapes are waited for. Of what wants another shape by now, of expressions and of more waits than one transaction
-- ends the event stays open, and the rest is done as of any open event. p_key: which of the keys an event has; p_from, p_end:
-- between which marks the waits of each key are; p_shapes: how the marks of the shapes begin that are known; p_asks: events
-- that expressions ask about; t_event, t_mark, t_output: what ends.
-- [the time, the events' numbers, those that stay open, [[wait that has ended, what it was ended by], ...]]; null: an id is there already, and nothing was done.
create function fw_push_at_once(
    p_now bigint, p_notify boolean, p_locks bigint[], p_events text, p_ids text[], p_key integer[], p_from bytea[],
    p_end bytea[], p_shapes bytea[], p_asks integer[], t_event integer[], t_mark bytea[], t_output text[], p_most bytea, p_limit integer
) returns text language plpgsql
set search_path from current
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    numbers bigint[];
    changed integer[];
    left_ integer[] := p_asks;
    told bigint[] := '{}';
    done bytea[];
    done_by integer[];
    part record;
begin
    perform fw_enter_gates();
    perform pg_advisory_xact_lock(v.key) from (select distinct x.key from unnest(p_locks) x (key) order by 1 offset 0) v;
    if exists (select from unnest(p_ids) v (id) cross join lateral (select from event e where e.id = v.id offset 0) e) then
        return null;
    end if;
    p_now := coalesce(p_now, fw_micros());
    numbers := array(
        select case when f.kept_digest is null then f.event_number end from fw_push(p_now, p_locks, p_events, 0::smallint) f
    );
    if cardinality(array_remove(numbers, null)) < cardinality(p_ids) then
        raise serialization_failure using message = 'an event of this id was pushed at the same moment';
    end if;
    changed := array(
        select v.n::integer from unnest(p_from, p_end) with ordinality v (low, high, n)
        where exists (select from fw_shapes(v.low, v.high, p_most) s where substr(s.mark, 1, 16) <> all (p_shapes))
    );
    if cardinality(changed) > 0 then
        left_ := left_ || array(
            select v.n::integer from unnest(p_key) with ordinality v (key, n) where v.key = any (changed)
        );
    end if;
    if cardinality(t_event) > 0 then
        part := fw_end_waits(p_now, t_mark, array(
            select substr(v.mark, 1, 32) || int8send(numbers[v.event])
            from unnest(t_event, t_mark) with ordinality v (event, mark, n) order by v.n
        ), t_output, p_limit, false);
        told := part.told; done := part.done; done_by := part.done_by;
        left_ := left_ || array(select t_event[v.n] from unnest(part.left_) v (n));
    end if;
    if cardinality(left_) > 0 then
        update event e set open = 1 where e.id = any (array(
            select v.id from unnest(p_ids) with ordinality v (id, n) where v.n = any (left_)
        ));
    end if;
    if p_notify and cardinality(told) > 0 then
        perform fw_announce(told, '{}');
    end if;
    return json_build_array(p_now, numbers, left_, array(
        select json_build_array(encode(v.id, 'hex'), v.n) from unnest(done, done_by) v (id, n)
    ));
end $$;
