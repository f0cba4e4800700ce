-- The hot path as functions: each does its part of a whole batch, set by set, and `commit_batch` (0005_commit.sql)
-- calls those that a batch needs: one statement, one round trip, one transaction. So a client that freezes or loses
-- its connection holds no lock.
--
-- All of it runs at READ COMMITTED, where every statement in these functions sees what was committed before it began.
-- What must not be missed is therefore locked before it is looked at: a parent that spawns (`fence`), a run that
-- somebody begins to wait for (`watch_runs`), a worker that commits (`commit_batch`). Each comment says against whom.
--
-- Plans are the same on an empty table and on a hundred million rows, because statistics are always late in a queue,
-- and each plan is made once in a session: the planner is kept from reading whole tables (`enable_seqscan = off`). It
-- must not walk through a whole index either, which it might where the rows are proved to be in a partial one, or where
-- that saves a sorting. So where a row is found by its id, its state is compared with a variable (`running`, `queued`)
-- and not with a constant; and where rows are locked in order, or children are looked for, it is row by row: a `lateral`
-- that can't be turned into a join, because it locks, or has a limit or an offset. tests/postgres/test_plans.py looks.

create function micros() returns bigint language sql stable
return (extract(epoch from statement_timestamp()) * 1000000)::bigint;

-- The parts of a batch. Each field is a column of it: the n-th entries of all fields belong together.
create type owners as (id bytea[], attempt integer[]);                -- attempts that spawn, or whose limit moved
create type kinds as (                                                -- what the children of one call have in common
    owner integer[],                                                  -- number among the owners, from 1; 0: a root
    root bytea[], depth integer[], task text[], priority integer[], metadata text[], schedule_timeout bigint[],
    deadline bigint[], deadline_by bytea[], on_parent_end smallint[]
);
create type spawns as (                                               -- runs to be born
    kind integer[],                                                   -- number among the kinds, from 1
    id bytea[], identity bytea[], index integer[], key text[], digest bytea[], input text[], claimed boolean[]
);
create type attaches as (kind integer[], id bytea[], digest bytea[]); -- children of earlier attempts, asked for again

-- Which of these attempts may write nothing any more: their numbers, from 1. The others are locked against whoever
-- would end or take them (those wait, and then find the children), not against each other.
create function fence(o owners) returns integer[] language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
    running constant smallint := 1;
    live bytea[];
begin
    live := array(
        select r.id
        from (select p.id, p.attempt from unnest(o.id, o.attempt) p (id, attempt) order by p.id) p
        cross join lateral (
            select r.id from run r where r.id = p.id and r.attempt = p.attempt and r.state = running for share
        ) r
    );
    if cardinality(live) = cardinality(o.id) then
        return '{}';
    end if;
    return array(
        select p.n::integer from unnest(o.id) with ordinality p (id, n) where p.id <> all (live) order by p.n
    );
end $$;

-- Runs are born, RUNNING if `claimed`. p_again: it may be the second time for this very batch, with nothing to tell.
create function spawn(
    p_me bigint, p_now bigint, p_at bigint, p_again boolean, p_fenced integer[], o owners, k kinds, s spawns
) returns void language plpgsql
set enable_seqscan = off set enable_nestloop = off set enable_mergejoin = off set enable_hashjoin = on
set plan_cache_mode = force_generic_plan
as $$
begin
    insert into run (
        id, parent_id, root_id, depth, task, identity, child_index, child_key, input_digest, input, metadata, priority,
        on_parent_end, state, attempt, asked, worker_id, deadline, deadline_by, schedule_timeout, expires_at,
        created_at, started_at
    )
    select c.id, p.id, coalesce(t.root, c.id), t.depth, t.task, c.identity, case when t.owner > 0 then c.index end,
           c.key, c.digest, c.input, t.metadata, t.priority, t.on_parent_end, c.claimed::integer, c.claimed::integer,
           coalesce(p.attempt, 0), case when c.claimed then p_me end, t.deadline, t.deadline_by, t.schedule_timeout,
           case when not c.claimed then least(p_now + t.schedule_timeout, t.deadline) end,
           p_now, case when c.claimed then p_at end
    from unnest(s.kind, s.id, s.identity, s.index, s.key, s.digest, s.input, s.claimed)
         as c (kind, id, identity, index, key, digest, input, claimed)
    join unnest(
             k.owner, k.root, k.depth, k.task, k.priority, k.metadata, k.schedule_timeout, k.deadline, k.deadline_by,
             k.on_parent_end
         ) with ordinality
         as t (owner, root, depth, task, priority, metadata, schedule_timeout, deadline, deadline_by, on_parent_end, n)
         on t.n = c.kind
    left join unnest(o.id, o.attempt) with ordinality as p (id, attempt, n) on p.n = t.owner
    where t.owner <> all (p_fenced)
      and not (t.owner = 0 and c.identity is not null)  -- those are `spawn_keyed`'s
      -- (Not `exists`: for that the planner might read the whole table into a hash.)
      and not (p_again and (select r.id from run r where r.id = c.id) is not null);
end $$;

-- Roots with an idempotency key: born if nobody holds the key; else who holds it. In the order of the keys, so that
-- two that race for the same keys wait for each other, and not both.
-- As JSON: [[id, holder's id, state, output, error, matches, task, input], ...] of those that weren't born.
create function spawn_keyed(p_now bigint, k kinds, s spawns) returns text language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
begin
    insert into run (
        id, root_id, depth, task, identity, child_key, input_digest, input, metadata, priority, on_parent_end, state,
        attempt, asked, schedule_timeout, expires_at, created_at
    )
    select c.id, c.id, 0, k.task[c.kind], c.identity, c.key, c.digest, c.input, k.metadata[c.kind],
           k.priority[c.kind], 0, 0, 0, 0, k.schedule_timeout[c.kind], p_now + k.schedule_timeout[c.kind], p_now
    from unnest(s.kind, s.id, s.identity, s.key, s.digest, s.input) as c (kind, id, identity, key, digest, input)
    where k.owner[c.kind] = 0 and c.identity is not null
    order by c.identity, c.id
    on conflict do nothing;
    return (
        select coalesce(json_agg(json_build_array(
            upper(encode(c.id, 'hex')), upper(encode(r.id, 'hex')), r.state, r.output, r.error,
            r.task = k.task[c.kind] and r.input_digest is not distinct from c.digest, r.task, r.input
        ))::text, '[]')
        from unnest(s.kind, s.id, s.identity, s.digest) as c (kind, id, identity, digest)
        cross join lateral (
            select h.* from run h where h.identity = c.identity and h.depth = 0 and h.identity is not null limit 1
        ) r
        where k.owner[c.kind] = 0 and c.identity is not null and r.id <> c.id
    );
end $$;

-- An earlier attempt's children are asked for again: what had failed is run again if this is a new trial, the others
-- get the present deadlines. To whom it was written of a deadline.
create function attach(p_now bigint, p_fenced integer[], o owners, k kinds, a attaches) returns bigint[]
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
    moved record;
    told bigint[] := '{}';
begin
    update run r
    set state = 0, run_at = null, retry_count = 0, deaths = 0, trial_start = r.attempt + 1, output = null,
        error = null, finished_at = null, expires_at = least(k.deadline[v.kind], p_now + r.schedule_timeout)
    from unnest(a.kind, a.id, a.digest) v (kind, id, digest)
    where k.owner[v.kind] <> all (p_fenced) and r.id = v.id and r.state in (3, 4)
      and r.asked < (select p.trial_start from run p where p.id = r.parent_id)
      and r.task = k.task[v.kind] and (r.input_digest is null or r.input_digest is not distinct from v.digest);
    update run r
    set asked = o.attempt[k.owner[v.kind]],
        deadline = case when r.state < 2 then k.deadline[v.kind] else r.deadline end,
        deadline_by = case when r.state < 2 then k.deadline_by[v.kind] else r.deadline_by end,
        expires_at = case
            when r.state <> 0 then r.expires_at
            when r.expires_at is null or r.expires_at = r.deadline then k.deadline[v.kind]
            else least(r.expires_at, k.deadline[v.kind])
        end,
        on_parent_end = k.on_parent_end[v.kind]
    from unnest(a.kind, a.id, a.digest) v (kind, id, digest)
    where k.owner[v.kind] <> all (p_fenced) and r.id = v.id
      and r.task = k.task[v.kind] and (r.input_digest is null or r.input_digest is not distinct from v.digest);
    for moved in
        select k.deadline_by[v.kind] as owner, max(k.deadline[v.kind]) as deadline
        from (select distinct kind from unnest(a.kind) x (kind)) v
        where k.owner[v.kind] <> all (p_fenced) and k.deadline_by[v.kind] = o.id[k.owner[v.kind]]
          and k.deadline[v.kind] is not null
        group by 1
    loop
        told := told || move_deadline(moved.owner, moved.deadline);
    end loop;
    return told;
end $$;

-- What is asked for again, as it stands. As JSON: [[id, state, output, error, matches, task, input], ...].
create function attached(p_fenced integer[], k kinds, a attaches) returns text language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
begin
    return (
        select coalesce(json_agg(json_build_array(
            upper(encode(r.id, 'hex')), r.state, r.output, r.error,
            r.task = k.task[v.kind] and (r.input_digest is null or r.input_digest is not distinct from v.digest),
            r.task, r.input
        ))::text, '[]')
        from unnest(a.kind, a.id, a.digest) v (kind, id, digest)
        join run r on r.id = v.id
        where k.owner[v.kind] <> all (p_fenced)
    );
end $$;

-- A run's limit moved: with it move the deadlines that its subtree has from it. To whom it was written.
create function move_deadline(p_owner bytea, p_deadline bigint) returns bigint[] language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
    running constant smallint := 1;
    told bigint[];
    moved bytea[];
begin
    moved := array(
        with recursive below (id) as (
            select c.id from run c where c.parent_id = p_owner and c.deadline_by = p_owner
            union all
            select c.id from below b
            cross join lateral (
                select c.id from run c where c.parent_id = b.id and c.deadline_by = p_owner offset 0
            ) c
        )
        select r.id
        from (select b.id from below b order by b.id) b
        cross join lateral (select r.id from run r where r.id = b.id and r.state in (0, 1) for update) r
    );
    with mailed as (
        insert into mail (worker_id, run_ids, size)
        select r.worker_id, array_agg(r.id), 0
        from unnest(moved) b (id) join run r on r.id = b.id join worker w on w.id = r.worker_id
        where r.state = running
        group by r.worker_id
        returning worker_id
    )
    select array_agg(worker_id) into told from mailed;
    update run r
    set deadline = p_deadline,
        expires_at = case
            when r.state <> 0 or (r.expires_at < r.deadline and r.expires_at < p_deadline) then r.expires_at
            else p_deadline
        end
    from unnest(moved) b (id)
    where r.id = b.id;
    return coalesce(told, '{}');
end $$;
