-- Which runs a worker takes, and what it reads: claims, ends that are waited for, mail.

create function has_ready(p_tasks text[]) returns boolean language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set plan_cache_mode = force_generic_plan
as $$
begin
    return exists (
        select from unnest(p_tasks) t (task)
        where exists (select from run r where r.task = t.task and r.state = 0 and r.run_at is null)
    );
end $$;

-- The oldest of all ready runs, so that nothing starves: groups of equal priority and depth are walked from the
-- bottom, where the starving are, and the walk is bounded. What others are claiming at this moment is passed by.
create function pick_oldest(p_tasks text[], p_limit integer) returns bytea[] language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
declare
    queued constant smallint := 0;
    oldest bytea[];
begin
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
    select array_agg(o.id) into oldest
    from (
        select q.id
        from groups g
        cross join lateral (
            select r.id from run r
            where r.task = g.task and r.priority = g.priority and r.depth = g.depth and r.state = 0 and r.run_at is null
            order by r.task, r.priority desc, r.depth desc, r.id limit p_limit
        ) q
        order by q.id limit p_limit
    ) o;
    return array(
        select r.id from unnest(oldest) o (id) join run r on r.id = o.id
        where r.state = queued and r.run_at is null
        order by r.id
        for update of r skip locked
    );
end $$;

-- By priority, then deeper runs first, then age: the best of each task, then the best of all. First it is looked how
-- many of each task are among the best, and then so many are locked: no more, or others would find them locked.
create function pick_best(p_tasks text[], p_limit integer, p_without bytea[]) returns bytea[] language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
declare
    tasks text[];
    picked bytea[] := '{}';
    share record;
begin
    tasks := array(
        select t.task from unnest(p_tasks) t (task)
        where exists (select from run r where r.task = t.task and r.state = 0 and r.run_at is null)
    );
    if cardinality(tasks) < 2 then
        return array(
            select r.id from run r
            where r.task = tasks[1] and r.state = 0 and r.run_at is null and r.id <> all (p_without)
            order by r.task, r.priority desc, r.depth desc, r.id limit p_limit
            for update skip locked
        );
    end if;
    for share in
        select best.task, count(*) as rows
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
    loop
        picked := picked || array(
            select r.id from run r
            where r.task = share.task and r.state = 0 and r.run_at is null and r.id <> all (p_without)
            order by r.task, r.priority desc, r.depth desc, r.id limit share.rows
            for update skip locked
        );
    end loop;
    return picked;
end $$;

-- These ready runs, which the transaction has locked, in the order in which they should begin: the oldest, then the
-- best; and nothing behind a suspect (a run on which two workers in a row have died), which must execute alone. Large
-- inputs come a few at a time, so that an answer has a bounded size.
create function in_order(p_oldest bytea[], p_best bytea[]) returns bytea[] language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
begin
    return array(
        select x.id
        from (
            select q.id, q.place,
                   coalesce(sum((q.deaths >= 2)::integer) over before, 0) as suspects_before,
                   coalesce(sum(q.size) over before, 0) as size_before
            from (
                select r.id, r.deaths, octet_length(r.input) as size, row_number() over (
                    order by p.is_best, case when p.is_best then r.priority end desc,
                             case when p.is_best then r.depth end desc, r.id
                ) as place
                from (
                    select o.id, false as is_best from unnest(p_oldest) o (id)
                    union all
                    select b.id, true from unnest(p_best) b (id)
                ) p
                join run r on r.id = p.id
            ) q
            window before as (order by q.place rows between unbounded preceding and 1 preceding)
        ) x
        where x.suspects_before = 0 and x.size_before < 16000000
        order by x.place
    );
end $$;

-- Take up to p_limit ready runs, p_fair of them the oldest.
create function claim(p_me bigint, p_at bigint, p_tasks text[], p_limit integer, p_fair integer) returns bytea[]
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
    oldest bytea[] := '{}';
    picked bytea[];
begin
    if p_fair > 0 then
        oldest := pick_oldest(p_tasks, p_fair);
    end if;
    picked := pick_best(p_tasks, p_limit - cardinality(oldest), oldest);
    if cardinality(oldest) + cardinality(picked) = 0 then
        return '{}';
    end if;
    picked := in_order(oldest, picked);
    update run r
    set state = 1, attempt = r.attempt + 1, worker_id = p_me, started_at = p_at, expires_at = null
    from unnest(picked) p (id)
    where r.id = p.id;
    return picked;
end $$;

-- Runs as their worker needs them, in this order.
create function claimed_runs(p_ids bytea[]) returns text language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
begin
    return (
        select coalesce(json_agg(json_build_array(
            upper(encode(r.id, 'hex')), r.attempt, coalesce(upper(encode(r.parent_id, 'hex')), ''),
            upper(encode(r.root_id, 'hex')), r.depth, r.task, r.child_index, r.child_key, r.input, r.metadata,
            r.priority, r.retry_count, r.deaths, r.deadline, coalesce(upper(encode(r.deadline_by, 'hex')), ''),
            r.trial_start
        ) order by p.n)::text, '[]')
        from unnest(p_ids) with ordinality p (id, n) join run r on r.id = p.id
    );
end $$;

-- Who begins to wait finds an end that is there, or will be written to. Runs that aren't watched yet are locked
-- against whoever ends them at this moment: either he is waited for, or he finds the watch.
-- As JSON: [[id, state, output, error, task], ...] of all that exist; what has not ended without its contents.
create function watch_runs(p_me bigint, p_ids bytea[]) returns text language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
begin
    perform from unnest(p_ids) v (id) join run r on r.id = v.id
    where r.state < 2 and not exists (select from watch t where t.run_id = r.id and t.worker_id = p_me)
    order by r.id
    for share of r;
    insert into watch (run_id, worker_id)
    select r.id, p_me from unnest(p_ids) v (id) join run r on r.id = v.id where r.state < 2
    on conflict do nothing;
    return (
        select coalesce(json_agg(
            json_build_array(upper(encode(r.id, 'hex')), r.state, r.output, r.error, r.task)
        )::text, '[]')
        from unnest(p_ids) v (id) join run r on r.id = v.id
    );
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
