-- How runs are born, and how a parent's new attempt finds its children again.

-- Which of these attempts may write nothing any more: their numbers, from 1. The others are locked against whoever
-- would end or take them (those wait, and then find the children), not against each other. What is below something that
-- is closed (p_gated: there may be such) is over as well.
create function fw_fence(o fw_owners, p_gated boolean) returns integer[] language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    running constant smallint := 1;
    live integer[];
    closed integer[];
begin
    live := array(
        select p.n::integer
        from (select x.* from unnest(o.id, o.attempt) with ordinality x (id, attempt, n) order by x.id) p
        cross join lateral (
            select r.id from run r where r.id = p.id and r.attempt = p.attempt and r.state = running for share
        ) r
    );
    if p_gated then
        closed := (select c.numbers from fw_closed(o.id) c);
    end if;
    if cardinality(live) = cardinality(o.id) and coalesce(cardinality(closed), 0) = 0 then
        return '{}';
    end if;
    return array(
        select p.n::integer from unnest(o.id) with ordinality p (id, n)
        where p.n <> all (live) or p.n = any (closed) order by p.n
    );
end $$;

-- Runs are born, RUNNING if `claimed`. p_budgets: those that their parents use, by owner; null if there are none. p_again: it may be the second time for this very batch, with nothing to tell.
-- Whether any of them is QUEUED.
create function fw_spawn(
    p_me bigint, p_now bigint, p_at bigint, p_again boolean, p_fenced integer[], o fw_owners, k fw_kinds, s fw_spawns,
    p_budgets bytea[]
) returns boolean language plpgsql
set enable_seqscan = off set enable_nestloop = off set enable_mergejoin = off set enable_hashjoin = on
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    born bytea[];
begin
    if p_again then  -- (no `exists`: for that the planner might read the whole table into a hash)
        born := array(select c.id from unnest(s.id) c (id) where (select r.id from run r where r.id = c.id) is not null);
    end if;
    insert into run (
        id, parent_id, root_id, depth, kind, task, identity, child_index, child_key, input_digest, input, metadata,
        priority, on_parent_end, state, attempt, asked, worker_id, deadline, deadline_by, schedule_timeout, expires_at,
        created_at, started_at, budget
    )
    select c.id, p.id, coalesce(t.root, c.id), t.depth, t.run_kind, t.task, c.identity,
           case when t.owner > 0 then c.index end,
           c.key, c.digest, c.input, t.metadata, t.priority, t.on_parent_end, c.claimed::integer, c.claimed::integer,
           coalesce(p.attempt, -t.owner), case when c.claimed then p_me end, t.deadline, t.deadline_by, t.schedule_timeout,
           case when not c.claimed then least(p_now + t.schedule_timeout, t.deadline) end,
           p_now, case when c.claimed then p_at end, p_budgets[t.owner]
    from unnest(s.kind, s.id, s.identity, s.index, s.key, s.digest, s.input, s.claimed)
         as c (kind, id, identity, index, key, digest, input, claimed)
    join unnest(
             k.owner, k.root, k.depth, k.task, k.priority, k.metadata, k.schedule_timeout, k.deadline, k.deadline_by,
             k.on_parent_end, k.kind
         ) with ordinality
         as t (owner, root, depth, task, priority, metadata, schedule_timeout, deadline, deadline_by, on_parent_end,
               run_kind, n)
         on t.n = c.kind
    left join unnest(o.id, o.attempt) with ordinality as p (id, attempt, n) on p.n = t.owner
    where t.owner <> all (p_fenced)
      and not (t.owner <= 0 and c.identity is not null)  -- those are `fw_spawn_keyed`'s
      and (born is null or c.id <> all (born));
    return false = any (s.claimed);
end $$;

-- Roots with an idempotency key: born if nobody holds the key; else who holds it. In the order of the keys, so that
-- two that race for the same keys wait for each other, and not both. Who held one may be deleted at this moment, and may
-- be gone between any two of these statements: then all of it is tried again, or it would be neither born nor found.
-- As JSON: [[id, holder's id, state, output, error, matches, task, input, later], ...] of those that weren't born.
create function fw_spawn_keyed(p_now bigint, k fw_kinds, s fw_spawns) returns text language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    wanted integer;
    held integer;
    taken text;
    damaged bytea[] := '{}';
begin
    wanted := (select count(*) from unnest(s.kind, s.identity) c (kind, identity)
               where k.owner[c.kind] <= 0 and c.identity is not null);
    loop
        insert into idem (namespace, key, run_id, digest)
        select k.namespace[c.kind], coalesce(c.key, encode(c.identity, 'hex')), c.id, coalesce(c.digest, c.identity)
        from unnest(s.kind, s.id, s.identity, s.key, s.digest) with ordinality
             as c (kind, id, identity, key, digest, n)
        where k.owner[c.kind] <= 0 and c.identity is not null
        order by 1, 2, c.n
        on conflict do nothing;
        insert into run (
            id, root_id, depth, kind, task, child_key, input_digest, input, metadata, priority, on_parent_end, state,
            attempt, asked, schedule_timeout, expires_at, created_at
        )
        select c.id, c.id, 0, k.kind[c.kind], k.task[c.kind], c.key, c.digest, c.input, k.metadata[c.kind],
               k.priority[c.kind], 0, 0, 0, -k.owner[c.kind], k.schedule_timeout[c.kind],
               p_now + k.schedule_timeout[c.kind], p_now
        from unnest(s.kind, s.id, s.identity, s.key, s.digest, s.input) as c (kind, id, identity, key, digest, input)
        where k.owner[c.kind] <= 0 and c.identity is not null
          and (select i.run_id from idem i where i.run_id = c.id) is not null
        order by c.id
        on conflict do nothing;
        begin
            select t.taken, t.held into taken, held from fw_taken(k, s, damaged) t;
        exception when data_corrupted or index_corrupted then
            damaged := fw_damaged(array(
                select i.run_id from unnest(s.kind, s.identity, s.key) c (kind, identity, key)
                join idem i on i.namespace = k.namespace[c.kind] and i.key = coalesce(c.key, encode(c.identity, 'hex'))
                where k.owner[c.kind] = 0 and c.identity is not null
            ), damaged, sqlerrm);
            continue;
        end;
        exit when held = wanted;
    end loop;
    return taken;
end $$;

-- ... and how many of these keys somebody holds.
create function fw_taken(k fw_kinds, s fw_spawns, p_damaged bytea[], out taken text, out held integer) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
begin
    select coalesce(json_agg(json_build_array(
               upper(encode(f.asked_for, 'hex')), upper(encode(f.id, 'hex')), case when f.whole then f.state else 9 end,
               case when f.whole and f.before < 16000000 then f.output end,
               case when not f.whole then fw_unreadable_error() when f.before < 16000000 then f.error end,
               f.matches, f.task, case when f.whole and f.before < 16000000 then f.input else '' end,
               f.whole and f.before >= 16000000
           ) order by f.n) filter (where f.id is not null)::text, '[]'),
           count(*)
    into taken, held
    from (
        select c.id as asked_for, r.id, r.state, r.output, r.error, r.task, r.input, c.n,
               r.id <> all (p_damaged) as whole,
               r.task = k.task[c.kind] and i.digest = coalesce(c.digest, c.identity) as matches,
               coalesce(sum(r.size) over (order by c.n rows between unbounded preceding and 1 preceding), 0)
                   as before
        from unnest(s.kind, s.id, s.identity, s.key, s.digest) with ordinality
             as c (kind, id, identity, key, digest, n)
        cross join lateral (
            select h.run_id, h.digest from idem h
            where h.namespace = k.namespace[c.kind] and h.key = coalesce(c.key, encode(c.identity, 'hex')) offset 0
        ) i
        left join lateral (
            select h.id, h.state, h.output, h.error, h.task, h.input,
                   coalesce(octet_length(h.output), 0) + coalesce(octet_length(h.error), 0)
                   + octet_length(h.input) as size
            from run h where h.id = i.run_id and i.run_id <> c.id offset 0
        ) r on true
        where k.owner[c.kind] <= 0 and c.identity is not null
    ) f;
end $$;

-- Of what is asked for again that which is below something closed ends first, as a sweep would end it.
create function fw_cut_asked(
    p_now bigint, p_fenced integer[], k fw_kinds, a fw_attaches, out closes boolean, out told bigint[]
) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    asked bytea[];
    states smallint[];
    places tid[];
begin
    select array_agg(l.id), array_agg(l.state), array_agg(l.place) into asked, states, places
    from (
        select distinct on (r.id) r.id, r.state, r.place  -- (an attempt may ask twice, once for something else)
        from (
            select v.id, v.kind, v.digest from unnest(a.kind, a.id, a.digest) v (kind, id, digest)
            where k.owner[v.kind] <> all (p_fenced) order by v.id
        ) v
        cross join lateral (
            select x.id, x.state, x.task, x.input_digest, x.ctid as place from run x where x.id = v.id for update
        ) r
        where r.task = k.task[v.kind] and (r.input_digest is null or r.input_digest is not distinct from v.digest)
        order by r.id
    ) l;
    select c.closes, c.told into closes, told from fw_cut_again(p_now, asked, states, places) c;
end $$;

-- An earlier attempt's children are asked for again: what had failed is run again if this is a new trial, the others
-- get the present deadlines. Whether anything is closed by that, and to whom it was written.
create function fw_attach(
    p_now bigint, p_fenced integer[], p_gated boolean, o fw_owners, k fw_kinds, a fw_attaches,
    out closes boolean, out told bigint[]
) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    terminal constant smallint := 8;
    completed constant smallint := 8;
    part record;
    again bytea[];
    waited bytea[];
    n integer;
begin
    closes := false; told := '{}';
    if p_gated then
        part := fw_cut_asked(p_now, p_fenced, k, a);
        closes := part.closes; told := part.told;
    end if;
    waited := array(  -- an attempt that asks twice, and waits for one of the two only: the deadline of that stays
        select r.id
        from unnest(a.kind, a.id) v (kind, id)
        cross join lateral (select x.id, x.asked, x.deadline from run x where x.id = v.id offset 0) r
        where r.asked = o.attempt[k.owner[v.kind]] and k.deadline[v.kind] is null and r.deadline is not null
    );
    again := array(
        select r.id
        from (
            select v.id, v.kind, v.digest from unnest(a.kind, a.id, a.digest) v (kind, id, digest)
            where k.owner[v.kind] <> all (p_fenced) order by v.id
        ) v
        cross join lateral (select x.* from run x where x.id = v.id for update) r
        where r.state > completed and r.asked < (select p.trial_start from run p where p.id = r.parent_id)
          and r.task = k.task[v.kind] and (r.input_digest is null or r.input_digest is not distinct from v.digest)
    );
    update run r  -- before anything is queued: what is asked for now is not closed any more
    set asked = o.attempt[k.owner[v.kind]], on_parent_end = k.on_parent_end[v.kind]
    from unnest(a.kind, a.id, a.digest) v (kind, id, digest)
    where k.owner[v.kind] <> all (p_fenced) and r.id = any (array[v.id])
      and r.task = k.task[v.kind] and (r.input_digest is null or r.input_digest is not distinct from v.digest);
    if cardinality(again) > 0 then
        again := array(select distinct v.id from unnest(again) v (id) order by v.id);  -- (an attempt may ask for one twice)
        n := cardinality(again);
        perform fw_set_priorities(again, true);
        perform fw_enter(0, p_now, 8, row(
            again, array_fill(null::integer, array[n]), array_fill(0::bigint, array[n]),
            array_fill(null::text, array[n]), array_fill(0::bigint, array[n]), array_fill(false, array[n])
        )::fw_entries);
    end if;
    update run r
    set deadline = k.deadline[v.kind],
        deadline_by = k.deadline_by[v.kind],
        expires_at = case
            when r.state = 1 then r.expires_at
            when r.expires_at is null or r.expires_at = r.deadline then k.deadline[v.kind]
            else least(r.expires_at, k.deadline[v.kind])
        end
    from unnest(a.kind, a.id, a.digest) v (kind, id, digest)
    where k.owner[v.kind] <> all (p_fenced) and r.id = any (array[v.id]) and r.state < terminal and r.id <> all (waited)
      and r.task = k.task[v.kind] and (r.input_digest is null or r.input_digest is not distinct from v.digest);
end $$;

-- What is asked for again, as it stands; contents as far as they fit into an answer. As JSON: [[id, state, output,
-- error, matches, task, input, later, number among those asked for], ...].
create function fw_attached(p_fenced integer[], k fw_kinds, a fw_attaches) returns text language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    damaged bytea[] := '{}';
begin
    loop
        begin
            return fw_found(p_fenced, k, a, damaged);
        exception when data_corrupted or index_corrupted then
            damaged := fw_damaged(a.id, damaged, sqlerrm);
        end;
    end loop;
end $$;

create function fw_found(p_fenced integer[], k fw_kinds, a fw_attaches, p_damaged bytea[]) returns text language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
begin
    return (
        select coalesce(json_agg(json_build_array(
            upper(encode(f.id, 'hex')), case when f.whole then f.state else 9 end,
            case when f.whole and f.before < 16000000 then f.output end,
            case when not f.whole then fw_unreadable_error() when f.before < 16000000 then f.error end, f.matches, f.task,
            case when f.whole and f.before < 16000000 then f.input else '' end, f.whole and f.before >= 16000000, f.n
        ) order by f.n)::text, '[]')
        from (
            select r.id, r.state, r.output, r.error, r.task, r.input, v.n, r.id <> all (p_damaged) as whole,
                   r.task = k.task[v.kind] and (r.input_digest is null or r.input_digest is not distinct from v.digest)
                       as matches,
                   coalesce(sum(coalesce(octet_length(r.output), 0) + coalesce(octet_length(r.error), 0)
                                + octet_length(r.input))
                            over (order by v.n rows between unbounded preceding and 1 preceding), 0) as before
            from unnest(a.kind, a.id, a.digest) with ordinality v (kind, id, digest, n)
            join run r on r.id = any (array[v.id])
            where k.owner[v.kind] <> all (p_fenced)
        ) f
    );
end $$;

-- Whoever waits for events shares the locks of their keys, and whoever pushes one has its key's alone, until the end of his
-- transaction, and under it each draws a number: so a wait is ended by events that are pushed after it, and one that is
-- pushed at the same moment waits for it, or it for that. Before anything else is locked; in order.
create function fw_share_keys(p_records text) returns void language plpgsql
as $$
#variable_conflict error
begin
    if p_records not like '%"awaits":"%' then  -- (what is within a text of theirs has its quotes escaped)
        return;
    end if;
    perform pg_advisory_xact_lock_shared(v.key) from (
        select distinct ('x' || left(x.awaits, 16))::bit(64)::bigint as key
        from json_to_recordset(p_records::json) x (awaits text) where x.awaits is not null order by 1 offset 0
    ) v;
end $$;

-- Children that no worker executes: born as they are known to be, or (`again`) done again in place by a new trial, as they had
-- failed or been cancelled. Rows of JSON, as there are few: the batch's hot part pays for one parameter.
create function fw_record(
    p_now bigint, p_again boolean, p_fenced integer[], o fw_owners, k fw_kinds, p_records text
) returns void language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    waiting constant smallint := 2;
    completed constant smallint := 8;
    records json := p_records::json;
begin
    insert into run (
        id, parent_id, root_id, depth, kind, task, identity, child_index, child_key, input, priority, on_parent_end,
        state, waits, due_at, attempt, asked, deadline, deadline_by, schedule_timeout, expires_at, created_at, started_at, finished_at,
        ended_by, output, error, awaits, input_digest, life, metadata
    )
    select v.id, o.id[k.owner[v.kind]], k.root[v.kind], k.depth[v.kind], k.kind[v.kind], k.task[v.kind], v.identity,
           v.index, v.key, v.input, k.priority[v.kind], k.on_parent_end[v.kind], v.state,
           case when v.state = 2 then k.kind[v.kind] - 9 end, v.due, v.attempt, o.attempt[k.owner[v.kind]],
           case when v.state = 2 then k.deadline[v.kind] end, case when v.state = 2 then k.deadline_by[v.kind] end,
           v.timeout, case when v.state = 2 then least(k.deadline[v.kind], p_now + v.timeout) end, v.began, case when v.attempt > 0 then v.began end,
           case when v.state >= 8 then p_now end, case when v.state >= 8 then 1 end, v.output, v.error,
           case when v.awaits is not null then v.awaits || int8send(nextval('event_number')) end, v.digest, v.life,
           k.metadata[v.kind]
    from (
        select decode(x.id, 'hex') as id, decode(x.identity, 'hex') as identity, x.kind, x.index, x.key, x.input,
               x.state, x.output, x.error, least(x.began, p_now) as began, x.due, x.timeout, x.attempt,
               decode(x.awaits, 'hex') as awaits, decode(x.digest, 'hex') as digest, x.life
        from json_to_recordset(records) x (
            kind integer, id text, identity text, index integer, key text, input text, state smallint, output text,
            error text, began bigint, due bigint, timeout bigint, attempt integer, again boolean, awaits text, share json,
            digest text, life text
        )
        where not x.again and x.share is null
    ) v
    where k.owner[v.kind] <> all (p_fenced)
      and not (p_again and (select r.id from run r where r.id = v.id) is not null);
    if p_records not like '%"again":true%' then
        return;
    end if;
    update run r
    set state = v.state, waits = case when v.state = 2 then k.kind[v.kind] - 9 end, due_at = v.due, trial_start = r.attempt + 1,
        asked = o.attempt[k.owner[v.kind]], output = v.output, error = v.error,
        ended_by = case when v.state >= 8 then 1 end, finished_at = case when v.state >= 8 then p_now end,
        started_at = case when r.attempt > 0 then v.began end,
        deadline = case when v.state = 2 then k.deadline[v.kind] end,
        deadline_by = case when v.state = 2 then k.deadline_by[v.kind] end,
        schedule_timeout = v.timeout,
        awaits = case when v.awaits is not null then v.awaits || int8send(nextval('event_number')) end,
        expires_at = case when v.state = 2 then least(k.deadline[v.kind], p_now + v.timeout) end
    from (
        select decode(x.id, 'hex') as id, x.kind, x.state, x.output, x.error, least(x.began, p_now) as began, x.due, x.timeout,
               decode(x.awaits, 'hex') as awaits
        from json_to_recordset(records) x (
            kind integer, id text, state smallint, output text, error text, began bigint, due bigint, timeout bigint,
            again boolean, awaits text, share json
        )
        where x.again and x.share is null
    ) v
    where r.id = v.id and (
              (r.state > completed and r.asked < (select p.trial_start from run p where p.id = r.parent_id))
              or (r.state = waiting and v.state = waiting and v.awaits is not null)
              or (r.state = waiting and fw_ends_closed(r.parent_id, r.asked, r.on_parent_end))
          )
      and k.owner[v.kind] <> all (p_fenced);
end $$;
