-- Which runs a worker takes, and what it reads: claims, ends that are waited for, mail.

create function has_ready(p_tasks text[]) returns boolean language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set plan_cache_mode = force_generic_plan
as $$
begin
    return exists (
        select from unnest(p_tasks) t (task)
        where (select true from run r where r.task = t.task and r.state = 0 and r.run_at is null limit 1)
    );
end $$;

-- The oldest of all ready runs, so that nothing starves: groups of equal priority and depth are walked from the
-- bottom, where the starving are, and the walk is bounded.
create function oldest_ready(p_tasks text[], p_limit integer) returns bytea[] language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
begin
    return array(
        with recursive
        bottom (task, priority, depth, number) as (
            select q.task, q.priority, q.depth, 1
            from unnest(p_tasks) t (task)
            cross join lateral (
                select r.task, r.priority, r.depth from run r
                where r.task = t.task and r.state = 0 and r.run_at is null
                order by r.task desc, r.priority, r.depth, r.id desc limit 1
            ) q
            union all
            select q.task, q.priority, q.depth, b.number + 1
            from bottom b
            cross join lateral (
                select r.task, r.priority, r.depth from run r
                where r.task = b.task and r.state = 0 and r.run_at is null
                  and (r.priority, r.depth) > (b.priority, b.depth)
                order by r.task desc, r.priority, r.depth, r.id desc limit 1
            ) q
            where b.number < 32
        ),
        groups as materialized (select task, priority, depth from bottom limit 32)
        select q.id
        from groups g
        cross join lateral (
            select r.id from run r
            where r.task = g.task and r.priority = g.priority and r.depth = g.depth and r.state = 0 and r.run_at is null
            order by r.task, r.priority desc, r.depth desc, r.id limit p_limit
        ) q
        order by q.id limit p_limit
    );
end $$;

-- How many of each task are among the best p_limit: so many are to be locked, and no more, or others would find them
-- locked.
create function shares(p_tasks text[], p_limit integer, p_without bytea[], out tasks text[], out rows integer[])
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
begin
    tasks := array(
        select t.task from unnest(p_tasks) t (task)
        where (select true from run r where r.task = t.task and r.state = 0 and r.run_at is null limit 1)
    );
    rows := array[p_limit];
    if cardinality(tasks) > 1 then
        select array_agg(share.task), array_agg(share.rows) into tasks, rows
        from (
            select best.task, count(*)::integer as rows
            from (
                select q.task
                from unnest(tasks) t (task)
                cross join lateral (
                    select r.task, r.priority, r.depth, r.id from run r
                    where r.task = t.task and r.state = 0 and r.run_at is null and r.id <> all (p_without)
                    order by r.task, r.priority desc, r.depth desc, r.id limit p_limit
                ) q
                order by q.priority desc, q.depth desc, q.id limit p_limit
            ) best
            group by best.task
        ) share;
    end if;
end $$;

-- Take up to p_limit ready runs: p_fair of them the oldest, then by priority, then deeper runs first, then age. What
-- others are claiming at this moment is passed by. Nothing behind a suspect (a run on which two workers in a row have
-- died), which must execute alone. Large inputs come a few at a time, so that an answer has a bounded size.
-- As JSON: the runs as their worker needs them.
create function claim(p_me bigint, p_at bigint, p_tasks text[], p_limit integer, p_fair integer) returns text
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
declare
    queued constant smallint := 0;
    oldest bytea[] := '{}';
    tasks text[];
    rows integer[];
    claimed text;
begin
    if p_fair > 0 then
        oldest := oldest_ready(p_tasks, p_fair);
    end if;
    select s.tasks, s.rows into tasks, rows from shares(p_tasks, p_limit - cardinality(oldest), oldest) s;
    with old as materialized (
        select r.ctid as place, r.id, r.priority, r.depth, r.deaths, octet_length(r.input) as size
        from unnest(oldest) o (id) join run r on r.id = o.id
        where r.state = queued and r.run_at is null
        for update of r skip locked
    ),
    best as materialized (
        select q.*
        from unnest(tasks, rows) t (task, rows)
        cross join lateral (
            select r.ctid as place, r.id, r.priority, r.depth, r.deaths, octet_length(r.input) as size
            from run r
            where r.task = t.task and r.state = 0 and r.run_at is null and r.id <> all (oldest)
            order by r.task, r.priority desc, r.depth desc, r.id limit t.rows
            for update skip locked
        ) q
    ),
    picked as (
        select 0 as turn, 0 as priority, 0 as depth, o.id, o.place, o.deaths, o.size from old o
        union all
        select 1, b.priority, b.depth, b.id, b.place, b.deaths, b.size from best b
    ),
    in_order as (
        select p.place, row_number() over whole as n,
               coalesce(sum((p.deaths >= 2)::integer) over before, 0) as suspects_before,
               coalesce(sum(p.size) over before, 0) as size_before
        from picked p
        window whole as (order by p.turn, p.priority desc, p.depth desc, p.id),
               before as (whole rows between unbounded preceding and 1 preceding)
    ),
    taken as (
        update run r
        set state = 1, attempt = r.attempt + 1, worker_id = p_me, started_at = p_at, expires_at = null
        from in_order p
        where r.ctid = p.place and p.suspects_before = 0 and p.size_before < 16000000
        returning p.n, r.*
    )
    select coalesce(json_agg(json_build_array(
        upper(encode(r.id, 'hex')), r.attempt, coalesce(upper(encode(r.parent_id, 'hex')), ''),
        upper(encode(r.root_id, 'hex')), r.depth, r.task, r.child_index, r.child_key, r.input, r.metadata, r.priority,
        r.retry_count, r.deaths, r.deadline, coalesce(upper(encode(r.deadline_by, 'hex')), ''), r.trial_start
    ) order by r.n)::text, '[]')
    into claimed
    from taken r;
    return claimed;
end $$;

-- What a commit claimed whose answer was lost, as `claim` would have said it: a suspect last.
create function claimed_before(p_me bigint, p_at bigint, p_born bytea[]) returns text language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
begin
    return (
        select coalesce(json_agg(json_build_array(
            upper(encode(r.id, 'hex')), r.attempt, coalesce(upper(encode(r.parent_id, 'hex')), ''),
            upper(encode(r.root_id, 'hex')), r.depth, r.task, r.child_index, r.child_key, r.input, r.metadata,
            r.priority, r.retry_count, r.deaths, r.deadline, coalesce(upper(encode(r.deadline_by, 'hex')), ''),
            r.trial_start
        ) order by r.deaths >= 2, r.priority desc, r.depth desc, r.id)::text, '[]')
        from run r
        where r.worker_id = p_me and r.state = 1 and r.started_at = p_at and r.id <> all (p_born)
    );
end $$;

-- Who begins to wait finds an end that is there, or will be written to. Runs that aren't watched yet are locked
-- against whoever ends them at this moment: either he is waited for, or he finds the watch.
-- As JSON: [[id, state, output, error, task], ...] of all that exist; what has not ended without its contents.
-- While they are locked, claims pass by those that are queued: their tasks are to be announced once more.
create function watch_runs(p_me bigint, p_ids bytea[], out watched text, out queued text[]) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
    queued_state constant smallint := 0;
begin
    perform from (
        select v.id from unnest(p_ids) v (id)
        where not exists (select from watch t where t.run_id = v.id and t.worker_id = p_me)
        order by v.id
    ) v
    cross join lateral (select from run r where r.id = v.id and r.state < 2 for share) r;
    insert into watch (run_id, worker_id)
    select r.id, p_me from unnest(p_ids) v (id) join run r on r.id = v.id where r.state < 2
    on conflict do nothing;
    -- Of a run that ended meanwhile the watch may have been there already: then its end was told, the insertion waited
    -- for the watch to be taken down, and entered it once more.
    delete from watch t using unnest(p_ids) v (id) join run r on r.id = v.id
    where t.run_id = v.id and t.worker_id = p_me and r.state >= 2;
    select coalesce(json_agg(
               json_build_array(upper(encode(r.id, 'hex')), r.state, r.output, r.error, r.task)
           )::text, '[]'),
           coalesce(array_agg(distinct r.task) filter (where r.state = queued_state), '{}')
    into watched, queued
    from unnest(p_ids) v (id) join run r on r.id = v.id;
end $$;

create function has_mail(p_me bigint, p_read bigint[]) returns boolean language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set plan_cache_mode = force_generic_plan
as $$
begin
    return exists (select from mail where worker_id = p_me and id <> all (p_read));
end $$;

-- The letters beside those that were read before, some at a time, so that an answer has a bounded size.
-- As JSON: [[letter, run, state, attempt, worker, output, error, task, deadline], ...].
create function read_mail(p_me bigint, p_read bigint[]) returns text language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
begin
    return (
        select coalesce(json_agg(json_build_array(
            m.id, upper(encode(r.id, 'hex')), r.state, r.attempt, coalesce(r.worker_id, 0), r.output, r.error, r.task,
            r.deadline
        ))::text, '[]')
        from (
            select l.id, unnest(l.run_ids) as run_id
            from (
                select id, run_ids, sum(size) over (order by id) - size as size_before
                from (
                    select id, run_ids, size from mail where worker_id = p_me and id <> all (p_read)
                    order by id limit 20
                ) first
            ) l
            where l.size_before < 16000000
        ) m
        left join run r on r.id = m.run_id
    );
end $$;

create function take_away(p_me bigint, p_read bigint[]) returns void language sql
begin atomic
    delete from mail where worker_id = p_me and id = any (p_read);
end;
