-- How attempts end, who is told, and what becomes of the children.

create type logs as (run bytea[], attempt integer[], at bigint[], level text[], message text[]);
create type ends as (                                                 -- attempts that ended for good
    id bytea[], attempt integer[], state smallint[], output text[], error text[],
    local boolean[],                                                  -- its parent runs on the same worker
    settles text[]                                                    -- the error of children that end with it, if any may
);
create type requeues as (id bytea[], attempt integer[], delay bigint[], retry boolean[], error text[]);

create function write_log(l logs) returns void language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
    running constant smallint := 1;
begin
    insert into log (run_id, seq, attempt, at, level, message)
    select r.id, v.n - 1 + coalesce((select max(o.seq) + 1 from log o where o.run_id = r.id), 0), r.attempt, v.at,
           v.level, v.message
    from unnest(l.run, l.attempt, l.at, l.level, l.message) with ordinality v (run, attempt, at, level, message, n)
    join run r on r.id = v.run and r.state = running and r.attempt = v.attempt;
end $$;

-- Attempts have ended for good. The numbers (from 1) of those that were refused: somebody ended or took them before.
create function end_runs(p_now bigint, e ends) returns integer[] language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
    running constant smallint := 1;
    ended integer[];
begin
    with done as (
        update run r
        set state = v.state, output = v.output, error = v.error, finished_at = p_now, expires_at = null
        from unnest(e.id, e.attempt, e.state, e.output, e.error) with ordinality v (id, attempt, state, output, error, n)
        where r.id = v.id and r.state = running and r.attempt = v.attempt
        returning v.n::integer
    )
    select array_agg(n) into ended from done;
    if cardinality(ended) = cardinality(e.id) then
        return '{}';
    end if;
    return array(select v.n from generate_series(1, cardinality(e.id)) v (n) where v.n <> all (coalesce(ended, '{}')));
end $$;

-- Attempts have ended, but not for good: retries, and runs that are handed back. The numbers of those refused.
create function requeue_runs(p_now bigint, q requeues) returns integer[] language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
    running constant smallint := 1;
    queued integer[];
begin
    with done as (
        update run r
        set state = 0,
            run_at = case when v.delay > 0 then p_now + v.delay end,
            retry_count = r.retry_count + v.retry::integer,
            trial_start = case when v.retry then r.attempt + 1 else r.trial_start end,
            deaths = 0,
            error = coalesce(v.error, r.error),
            expires_at = least(r.deadline, p_now + v.delay + r.schedule_timeout)
        from unnest(q.id, q.attempt, q.delay, q.retry, q.error) with ordinality v (id, attempt, delay, retry, error, n)
        where r.id = v.id and r.state = running and r.attempt = v.attempt
        returning v.n::integer
    )
    select array_agg(n) into queued from done;
    return array(select v.n from generate_series(1, cardinality(q.id)) v (n) where v.n <> all (coalesce(queued, '{}')));
end $$;

-- Write to all who wait for these ended runs, but for p_me: the worker of the parent, and whoever watches. To whom it was.
create function tell(p_me bigint, p_ids bytea[]) returns bigint[] language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
    running constant smallint := 1;
    told bigint[];
begin
    with mailed as (
        insert into mail (worker_id, run_ids, size)
        select w.id, array_agg(x.run_id), sum(x.size)
        from (
            select p.worker_id, r.id as run_id, coalesce(octet_length(r.output), 0) as size
            from unnest(p_ids) v (id) join run r on r.id = v.id join run p on p.id = r.parent_id
            where p.state = running
            union
            select t.worker_id, t.run_id, coalesce(octet_length(r.output), 0)
            from unnest(p_ids) v (id) join watch t on t.run_id = v.id join run r on r.id = v.id
        ) x
        join worker w on w.id = x.worker_id
        where x.worker_id <> p_me
        group by w.id
        returning worker_id
    )
    select array_agg(worker_id) into told from mailed;
    delete from watch t using unnest(p_ids) v (id) where t.run_id = v.id;
    return coalesce(told, '{}');
end $$;

-- The children that end with their parent: all, if it did not complete; else those that were spawned to end with it,
-- and those that its last attempt never asked for again.
create function children_that_end(p_parent bytea, p_all boolean, p_attempt integer) returns setof bytea
language sql stable
begin atomic
    select c.id from run c
    where c.parent_id = p_parent and c.on_parent_end <> 2
      and (p_all or (c.state in (0, 1) and (c.on_parent_end = 1 or c.asked < p_attempt)));
end;

-- A parent has ended: cancel the children that end with it, and all below them. To whom it was written.
create function settle(p_parent bytea, p_all boolean, p_attempt integer, p_now bigint, p_error text) returns bigint[]
language plpgsql
set enable_seqscan = off
as $$
declare
    children bytea[] := array(select children_that_end(p_parent, p_all, p_attempt));
begin
    if cardinality(children) = 0 then
        return '{}';
    end if;
    return (select c.told from cancel_below(children, p_now, p_error, p_error) c);
end $$;

-- Cancel these runs and all below them, but for those that were spawned to go on. To whom it was written, and how many
-- it were. Somebody below may be spawning at this moment: his commit holds a lock on his run (`fence`), for which
-- `for update` waits; so after each round there may be more to find, until a round finds none.
create function cancel_below(
    p_tops bytea[], p_now bigint, p_error text, p_error_below text, out told bigint[], out cancelled integer
) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
    running constant smallint := 1;
    doomed bytea[];
    told_now bigint[];
begin
    told := '{}';
    cancelled := 0;
    loop
        doomed := array(
            with recursive below (id) as (
                select t.id from unnest(p_tops) t (id)
                union all
                select c.id from below b
                cross join lateral (
                    select c.id from run c where c.parent_id = b.id and c.on_parent_end <> 2 offset 0
                ) c
            )
            select r.id
            from (select b.id from below b order by b.id) b
            cross join lateral (select r.id from run r where r.id = b.id and r.state in (0, 1) for update) r
        );
        exit when cardinality(doomed) = 0;
        with mailed as (
            insert into mail (worker_id, run_ids, size)
            select w.id, array_agg(x.run_id), 0
            from (
                select r.worker_id, r.id as run_id from unnest(doomed) v (id) join run r on r.id = v.id
                where r.state = running
                union
                select t.worker_id, t.run_id from unnest(doomed) v (id) join watch t on t.run_id = v.id
            ) x
            join worker w on w.id = x.worker_id
            group by w.id
            returning worker_id
        )
        select array_agg(worker_id) into told_now from mailed;
        told := told || coalesce(told_now, '{}');
        delete from watch t using unnest(doomed) v (id) where t.run_id = v.id;
        update run r
        set state = 4, finished_at = p_now, expires_at = null, run_at = null,
            error = case when r.id = any (p_tops) then p_error else p_error_below end
        from unnest(doomed) v (id)
        where r.id = v.id;
        cancelled := cancelled + cardinality(doomed);
    end loop;
end $$;

-- A call cancels a run and its subtree, but for children that were spawned to go on. The worker of its parent, if it
-- waits, is told as well.
create function cancel_run(
    p_id bytea, p_now bigint, p_error text, p_error_below text, out told bigint[], out cancelled integer
) language plpgsql
set enable_seqscan = off
as $$
declare
    live boolean;
begin
    perform from run where id = p_id and state in (0, 1) for update;
    live := found;
    select c.told, c.cancelled into told, cancelled
    from cancel_below(array[p_id], p_now, p_error, p_error_below) c;
    if live then
        told := told || tell(0, array[p_id]);
    end if;
end $$;

-- All outcomes of a batch: the numbers of refused ends and of refused requeues, to whom it was written, and which tasks
-- have a run that is ready again.
create function report(
    p_me bigint, p_now bigint, e ends, q requeues,
    out refused integer[], out not_queued integer[], out told bigint[], out ready text[]
) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
    ids bytea[];
    watched boolean;
begin
    refused := '{}'; not_queued := '{}'; told := '{}'; ready := '{}';
    if cardinality(e.id) > 0 then
        refused := end_runs(p_now, e);
    end if;
    if cardinality(q.id) > 0 then
        not_queued := requeue_runs(p_now, q);
        ready := array(
            select distinct r.task from unnest(q.id, q.delay) v (id, delay) join run r on r.id = v.id where v.delay = 0
        );
    end if;
    watched := exists (select from watch where worker_id < p_me) or exists (select from watch where worker_id > p_me);
    if watched or false = any (e.local) then
        ids := array(
            select v.id from unnest(e.id, e.local) with ordinality v (id, local, n)
            where (watched or not v.local) and v.n <> all (refused)
        );
        if cardinality(ids) > 0 then
            told := tell(p_me, ids);
        end if;
    end if;
    for i in 1 .. cardinality(e.settles) loop
        if e.settles[i] is not null and i <> all (refused) then
            told := told || settle(e.id[i], e.state[i] <> 2, e.attempt[i], p_now, e.settles[i]);
        end if;
    end loop;
end $$;
