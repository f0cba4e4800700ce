-- Which runs a worker takes. The order is that of the index `run_ready`: priority, root, depth (deeper first), age.

-- Large trees that are being swept: what is to go on of them, if anything is, does so after that.
create function fw_swept_trees() returns bytea[] language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    terminal constant smallint := 8;
begin
    return array(
        select g.run_id from gate g
        where g.what = 1 and g.which = 0 and g.run_id = g.root_id and g.phase > 0
          and (select r.state >= terminal from run r where r.id = g.run_id)
        limit 100
    );
end $$;

-- Whether there is anything for this worker to claim; null: nothing but of trees that are being swept.
create function fw_has_ready(p_me bigint, p_tasks text[]) returns boolean language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
begin
    return case when exists (select from gate g where g.what = 1) then fw_has_open(p_me, p_tasks) else exists (
        select from unnest(p_tasks) t (task)
        where (select true from run r where r.task = t.task and r.state = 0 limit 1)
    ) end;
end $$;

create function fw_has_open(p_me bigint, p_tasks text[]) returns boolean language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    trees bytea[] := fw_swept_trees();
begin
    if cardinality(trees) = 0 or exists (select from worker w where w.id = p_me and w.programs <> '{}') then
        return cardinality(fw_ready_tasks(p_tasks)) > 0;
    end if;
    return case when cardinality(fw_open(p_tasks, 1, trees)) > 0 then true end;
end $$;

create function fw_ready_tasks(p_tasks text[]) returns text[] language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
begin
    return array(
        select t.task from unnest(p_tasks) t (task)
        where (select true from run r where r.task = t.task and r.state = 0 limit 1)
    );
end $$;

-- How many of each task are among the best p_limit: so many are to be locked, and no more, or others would find them
-- locked. A few of each task are looked at, and more only of those whose few are all among the best.
create function fw_shares(p_tasks text[], p_limit integer, p_without bytea[], out tasks text[], out rows integer[])
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    heads integer[];
    counts integer[];
    more boolean := true;
begin
    tasks := p_tasks;
    rows := array[p_limit];
    if cardinality(tasks) < 2 then
        return;
    end if;
    heads := array_fill(least(p_limit, 2 + p_limit / cardinality(tasks)), array[cardinality(tasks)]);
    while more loop
        select array_agg(coalesce(b.n, 0) order by t.n) into counts
        from unnest(tasks) with ordinality t (task, n)
        left join (
            select q.task, count(*)::integer as n
            from (
                select q.task
                from unnest(tasks, heads) t (task, heads)
                cross join lateral (
                    select r.task, r.priority, r.root_id, r.depth, r.id from run r
                    where r.task = t.task and r.state = 0 and r.deaths < 2 and r.id <> all (p_without)
                    order by r.task, r.priority desc, r.root_id, r.depth desc, r.id limit t.heads
                ) q
                order by q.priority desc, q.root_id, q.depth desc, q.id limit p_limit
            ) q
            group by q.task
        ) b on b.task = t.task;
        select bool_or(v.taken = v.heads and v.heads < p_limit),
               array_agg(case when v.taken = v.heads then least(p_limit, v.heads * 4) else v.heads end order by v.n)
        into more, heads
        from unnest(heads, counts) with ordinality v (heads, taken, n);
    end loop;
    select array_agg(v.task), array_agg(v.taken) into tasks, rows
    from unnest(tasks, counts) v (task, taken) where v.taken > 0;
    tasks := coalesce(tasks, '{}'); rows := coalesce(rows, '{}');
end $$;

-- The best ready run of all, if it is a suspect: a run on which two workers in a row have died, which executes alone.
create function fw_best_suspect(p_tasks text[]) returns bytea language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
begin
    return (
        select case when b.deaths >= 2 then b.id end
        from (
            select q.id, q.deaths
            from unnest(p_tasks) t (task)
            cross join lateral (
                select r.priority, r.root_id, r.depth, r.id, r.deaths from run r
                where r.task = t.task and r.state = 0
                order by r.task, r.priority desc, r.root_id, r.depth desc, r.id limit 1
            ) q
            order by q.priority desc, q.root_id, q.depth desc, q.id limit 1
        ) b
    );
end $$;

-- Lock up to p_limit ready runs: first p_first, then the best. What others are claiming at this moment is passed by.
-- Where they stand, in order, as far as their inputs fit into an answer.
create function fw_pick(p_tasks text[], p_limit integer, p_first bytea[], out places tid[], out ids bytea[],
                        out has_more boolean)
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    queued constant smallint := 0;
    tasks text[];
    rows integer[];
begin
    select s.tasks, s.rows into tasks, rows from fw_shares(p_tasks, p_limit - cardinality(p_first), p_first) s;
    with first_ as materialized (
        select f.n, r.ctid as place, r.id, octet_length(r.input) as size
        from unnest(p_first) with ordinality f (id, n) join run r on r.id = any (array[f.id])
        where r.state = queued and r.deaths < 2
        for update of r skip locked
    ),
    best as materialized (
        select q.*
        from unnest(tasks, rows) t (task, rows)
        cross join lateral (
            select r.ctid as place, r.id, r.priority, r.root_id, r.depth, octet_length(r.input) as size
            from run r
            where r.task = t.task and r.state = 0 and r.deaths < 2 and r.id <> all (p_first)
            order by r.task, r.priority desc, r.root_id, r.depth desc, r.id limit t.rows
            for update skip locked
        ) q
    ),
    picked as (
        select f.n, 0 as priority, '\x'::bytea as root_id, 0 as depth, f.id, f.place, f.size from first_ f
        union all
        select 1 << 30, b.priority, b.root_id, b.depth, b.id, b.place, b.size from best b
    ),
    in_order as (
        select p.place, p.id, row_number() over whole as rank, coalesce(sum(p.size) over before, 0) as size_before
        from picked p
        window whole as (order by p.n, p.priority desc, p.root_id, p.depth desc, p.id),
               before as (whole rows between unbounded preceding and 1 preceding)
    )
    select coalesce(array_agg(p.place order by p.rank) filter (where p.size_before < 16000000), '{}'),
           coalesce(array_agg(p.id order by p.rank) filter (where p.size_before < 16000000), '{}'),
           coalesce(bool_or(p.size_before >= 16000000), false)
    into places, ids, has_more
    from in_order p;
end $$;

-- The same for a worker that serves only what is below roots of some programs, or of nobody's, p_first as well; suspects as in `fw_claim`. No
-- more are locked than are taken, so two who look at the same time find the same: who comes second looks again.
create function fw_pick_own(p_tasks text[], p_limit integer, p_idle boolean, p_programs integer[], p_first bytea[],
                            out places tid[], out ids bytea[], out has_more boolean)
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    queued constant smallint := 0;
    best bytea[];
    deaths_ integer[];
    sizes integer[];
begin
    select array_agg(b.id order by b.n), array_agg(b.deaths order by b.n), array_agg(b.size order by b.n)
    into best, deaths_, sizes
    from (
        select q.id, q.deaths, q.size, row_number() over whole as n, coalesce(sum(q.size) over before, 0) as size_before
        from unnest(p_tasks) t (task)
        cross join lateral (
            select r.id, r.priority, r.root_id, r.depth, r.deaths, octet_length(r.input) as size
            from run r
            cross join lateral (select x.asked from run x where x.id = r.root_id) o
            where r.task = t.task and r.state = 0 and (r.deaths < 2 or p_idle) and (o.asked = 0 or o.asked = any (p_programs))
            order by r.task, r.priority desc, r.root_id, r.depth desc, r.id limit p_limit
        ) q
        window whole as (order by q.priority desc, q.root_id, q.depth desc, q.id),
               before as (whole rows between unbounded preceding and 1 preceding)
    ) b
    where b.n <= p_limit and b.size_before < 16000000;
    if p_idle and deaths_[1] >= 2 then
        best := best[1:1];
    elsif 2 <= any (deaths_) then  -- which had the others' room
        select p.places, p.ids, p.has_more into places, ids, has_more
        from fw_pick_own(p_tasks, p_limit, false, p_programs, p_first) p;
        return;
    else
        best := array(
            select b.id
            from (
                select c.id, c.n, coalesce(sum(c.size) over before, 0) as size_before
                from (
                    select f.n, r.id, octet_length(r.input) as size
                    from unnest(p_first) with ordinality f (id, n)
                    cross join lateral (select x.id, x.input from run x where x.id = f.id and x.deaths < 2) r
                    union all
                    select (1 << 30) + v.n, v.id, v.size
                    from unnest(best, deaths_, sizes) with ordinality v (id, deaths, size, n)
                    where v.deaths < 2 and v.id <> all (p_first)
                ) c
                window before as (order by c.n rows between unbounded preceding and 1 preceding)
                order by c.n limit p_limit
            ) b
            where b.size_before < 16000000 order by b.n
        );
    end if;
    select coalesce(array_agg(r.place order by v.n), '{}'), coalesce(array_agg(v.id order by v.n), '{}')
    into places, ids
    from unnest(best) with ordinality v (id, n)
    cross join lateral (
        select x.ctid as place from run x where x.id = v.id and x.state = queued for update skip locked
    ) r;
    has_more := cardinality(best) = p_limit or cardinality(ids) < cardinality(best);
end $$;

-- Take up to p_limit ready runs, p_fair of them among the oldest. Suspects are passed by; but for a worker that is idle,
-- which takes one, and nothing beside it, if that is the best there is. What is closed ends, and is not taken; what is
-- paused waits from now on.
-- As JSON: the runs as their worker needs them.
create function fw_claim(
    p_me bigint, p_now bigint, p_at bigint, p_gated boolean, p_paused boolean, p_tasks text[], p_limit integer, p_fair integer,
    p_idle boolean, p_turns text, p_programs integer[],
    out claimed text, out has_more boolean, out told bigint[], out cut boolean
) language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    queued constant smallint := 0;
    first_ bytea[] := '{}';
    tasks text[] := p_tasks;
    oldest bytea[] := '{}';
    places tid[] := '{}';
    ids bytea[];
    closed bytea[];
    trees bytea[] := case when p_gated and p_programs = '{}' then fw_swept_trees() else '{}' end;
    suspect bytea;
    held bytea[];
    cleared boolean := false;
begin
    if p_gated or p_paused then  -- what it meets, and locks, it may not get; and a sweep is at these as well
        p_limit := least(p_limit, 50);
    end if;
    if cardinality(trees) = 0 and cardinality(tasks) > 1 then
        tasks := fw_ready_tasks(tasks);
    end if;
    if p_paused then
        cleared := fw_clear(tasks);
    end if;
    claimed := '[]'; has_more := cleared; told := '{}'; cut := false;
    if cardinality(trees) > 0 then  -- (their ends are told by who sweeps)
        cut := true;
        first_ := fw_open(tasks, p_limit, trees);
        select p.places, p.ids, p.has_more or cardinality(first_) = p_limit into places, ids, has_more
        from fw_pick(tasks, cardinality(first_), first_) p;
    elsif p_turns is not null then
        first_ := fw_turns(tasks, p_limit, p_turns, p_programs);
    end if;
    if cardinality(p_programs) > 0 then
        select p.places, p.ids, p.has_more into places, ids, has_more
        from fw_pick_own(tasks, p_limit, p_idle, p_programs, first_) p;
    elsif p_idle and cardinality(trees) = 0 then
        suspect := fw_best_suspect(tasks);
        select array_agg(r.ctid), array_agg(r.id) into places, ids
        from (
            select x.ctid, x.id from run x where x.id = suspect and x.state = queued
            for update skip locked
        ) r;
    end if;
    if cardinality(p_programs) = 0 and coalesce(cardinality(places), 0) = 0 and cardinality(trees) = 0 then
        if p_fair > 0 then
            oldest := array(
                select o.id from unnest(tasks) t (task) cross join lateral unnest(fw_oldest_of(t.task)) o (id)
                order by o.id limit least(p_fair, p_limit)
            );
        end if;
        if cardinality(first_) > 0 then
            first_ := array(
                select f.id from unnest(first_) with ordinality f (id, n) where f.id <> all (oldest) order by f.n
            );
            oldest := (oldest || first_)[1:p_limit];
        end if;
        select p.places, p.ids, p.has_more into places, ids, has_more from fw_pick(tasks, p_limit, oldest) p;
        if cardinality(first_) > 0 and cardinality(places) < p_limit then  -- suspects may have had the others' room
            first_ := array(
                select f.id from unnest(oldest) with ordinality f (id, n)
                cross join lateral (select x.deaths from run x where x.id = f.id) r
                where r.deaths < 2 order by f.n
            );
            if cardinality(first_) < cardinality(oldest) then
                select p.places, p.ids, p.has_more into places, ids, has_more from fw_pick(tasks, p_limit, first_) p;
            end if;
        end if;
    end if;
    has_more := has_more or cleared;
    if cardinality(places) = 0 then
        return;
    end if;
    if p_gated then
        -- Some of what is met ends here; that all of it does would make a commit long.
        select c.closed, c.told into closed, told from fw_cut(p_now, ids, places, 10) c;
    end if;
    if cardinality(closed) > 0 then
        cut := true;
        has_more := true;
        places := array(
            select v.place from unnest(places, ids) with ordinality v (place, id, n)
            where v.id <> all (closed) order by v.n
        );
        ids := array(select v.id from unnest(ids) with ordinality v (id, n) where v.id <> all (closed) order by v.n);
    end if;
    if p_paused then
        held := fw_hold(ids, places);
        if cardinality(held) > 0 then
            has_more := true;
            places := array(
                select v.place from unnest(places, ids) with ordinality v (place, id, n)
                where v.id <> all (held) order by v.n
            );
        end if;
    end if;
    with taken as (
        update run r
        set state = 1, attempt = r.attempt + 1, worker_id = p_me, started_at = p_at, expires_at = null
        from unnest(places) with ordinality p (place, n)
        where r.ctid = p.place
        returning p.n, r.*
    )
    select coalesce(json_agg(json_build_array(
        upper(encode(r.id, 'hex')), r.attempt, coalesce(upper(encode(r.parent_id, 'hex')), ''),
        upper(encode(r.root_id, 'hex')), r.depth, r.task, r.child_index, r.child_key, r.input, r.metadata, r.priority,
        r.retry_count, r.deaths, r.deadline, coalesce(upper(encode(r.deadline_by, 'hex')), ''), r.trial_start, r.life,
        coalesce(s.wakes, 0), case when s.attempt = r.attempt - 1 then s.until end,
        case when s.attempt = r.attempt - 1 then s.pending end
    ) order by r.n)::text, '[]')
    into claimed
    from taken r left join lateral (select x.* from suspended x where x.run_id = r.id offset 0) s on true;
end $$;

-- What a commit claimed whose answer was lost, as `fw_claim` would have said it.
create function fw_claimed_before(p_me bigint, p_at bigint, p_born bytea[]) returns text language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
begin
    return (
        select coalesce(json_agg(json_build_array(
            upper(encode(r.id, 'hex')), r.attempt, coalesce(upper(encode(r.parent_id, 'hex')), ''),
            upper(encode(r.root_id, 'hex')), r.depth, r.task, r.child_index, r.child_key, r.input, r.metadata,
            r.priority, r.retry_count, r.deaths, r.deadline, coalesce(upper(encode(r.deadline_by, 'hex')), ''),
            r.trial_start, r.life, coalesce(s.wakes, 0), case when s.attempt = r.attempt - 1 then s.until end,
            case when s.attempt = r.attempt - 1 then s.pending end
        ) order by r.priority desc, r.root_id, r.depth desc, r.id)::text, '[]')
        from run r left join lateral (select x.* from suspended x where x.run_id = r.id offset 0) s on true
        where r.worker_id = p_me and r.state = 1 and r.started_at = p_at and r.id <> all (p_born)
    );
end $$;

-- A claim failed: which of the first p_limit of each task in the queue can't be read, or claimed.
create function fw_unreadable(p_tasks text[], p_limit integer) returns bytea[] language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    here bytea;
    found_ bytea[] := '{}';
begin
    for here in
        select q.id from unnest(p_tasks) t (task)
        cross join lateral (
            select r.id from run r where r.task = t.task and r.state = 0
            order by r.task, r.priority desc, r.root_id, r.depth desc, r.id limit p_limit
        ) q
    loop
        begin
            perform length(concat(r.attempt + 1, r.input, r.metadata, r.child_key)) from run r where r.id = here;
        exception when data_corrupted or index_corrupted or data_exception or program_limit_exceeded then
            found_ := found_ || here;
        end;
    end loop;
    return found_;
end $$;
