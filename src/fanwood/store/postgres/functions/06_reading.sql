-- What a commit reads: ends that are waited for, mail, and what calls have closed.

-- Who begins to wait finds an end that is there, or will be written to. Runs that aren't watched yet are locked
-- against whoever ends them at this moment: either he is waited for, or he finds the watch.
-- As JSON: [[id, state, output, error, task, later], ...] of all that exist; contents of what has ended, as far as they
-- fit into an answer. While they are locked, claims pass by those that are queued: their tasks are to be announced once
-- more.
create function fw_watch(p_me bigint, p_ids bytea[], out watched text, out queued text[]) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    queued_state constant smallint := 0;
    terminal constant smallint := 8;
begin
    perform from (
        select v.id from unnest(p_ids) v (id)
        where not exists (select from watch t where t.run_id = v.id and t.worker_id = p_me)
        order by v.id
    ) v
    cross join lateral (select from run r where r.id = v.id and r.state < terminal for share) r;
    insert into watch (run_id, worker_id)
    select r.id, p_me from unnest(p_ids) v (id) join run r on r.id = v.id where r.state < terminal
    on conflict do nothing;
    -- Of a run that ended meanwhile the watch may have been there already: then its end was told, the insertion waited
    -- for the watch to be taken down, and entered it once more.
    delete from watch t using unnest(p_ids) v (id) join run r on r.id = v.id
    where t.run_id = v.id and t.worker_id = p_me and r.state >= terminal;
    select coalesce(json_agg(json_build_array(
               upper(encode(f.id, 'hex')), f.state, case when f.before < 16000000 then f.output end,
               case when f.before < 16000000 then f.error end, f.task, f.before >= 16000000
           ) order by f.n)::text, '[]'),
           coalesce(array_agg(distinct f.task) filter (where f.state = queued_state), '{}')
    into watched, queued
    from (
        select r.id, r.state, r.output, r.error, r.task, v.n,
               coalesce(sum(coalesce(octet_length(r.output), 0) + coalesce(octet_length(r.error), 0))
                        over (order by v.n rows between unbounded preceding and 1 preceding), 0) as before
        from unnest(p_ids) with ordinality v (id, n) join run r on r.id = v.id
    ) f;
end $$;

-- Nobody there waits for these any more. Who is just ending one takes its watch down himself.
create function fw_unwatch(p_me bigint, p_ids bytea[]) returns void language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    free bytea[];
begin
    select array_agg(t.run_id) into free
    from unnest(p_ids) v (id)
    cross join lateral (
        select x.run_id from watch x where x.run_id = v.id and x.worker_id = p_me for update skip locked
    ) t;
    delete from watch t using unnest(free) v (id) where t.run_id = v.id and t.worker_id = p_me;
end $$;

create function fw_has_mail(p_me bigint, p_read bigint[]) returns boolean language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
begin
    return exists (select from mail m where m.worker_id = p_me and m.id <> all (p_read))
        or exists (select from unheard u where u.worker_id = p_me);
end $$;

-- The letters beside those that were read before, some at a time, so that an answer has a bounded size; and whether
-- there are more.
-- As JSON: [[letter, run, state, attempt, worker, output, error, task, deadline, later], ...].
create function fw_read_mail(p_me bigint, p_read bigint[], out letters text, out has_more boolean) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    taken integer;
    there integer;
begin
    letters := '[]'; has_more := false;
    if not exists (select from mail m where m.worker_id = p_me and m.id <> all (p_read)) then
        return;
    end if;
    with first as materialized (
        select l.id, l.run_ids, sum(l.size) over (order by l.id) - l.size as size_before
        from (
            select m.id, m.run_ids, m.size from mail m where m.worker_id = p_me and m.id <> all (p_read)
            order by m.id limit 21
        ) l
    ),
    ours as (
        select f.id, u.run_id, u.n from (select x.* from first x where x.size_before < 16000000 order by x.id limit 20) f
        cross join lateral unnest(f.run_ids) with ordinality u (run_id, n)
    ),
    contents as (
        select o.id as letter, o.n, r.id, r.state, r.attempt, r.worker_id, r.output, r.error, r.task, r.deadline,
               coalesce(sum(coalesce(octet_length(r.output), 0) + coalesce(octet_length(r.error), 0))
                        over (order by o.id, o.n rows between unbounded preceding and 1 preceding), 0) as before
        from ours o
        left join run r on r.id = o.run_id
    )
    select coalesce(json_agg(json_build_array(
               c.letter, upper(encode(c.id, 'hex')), c.state, c.attempt, coalesce(c.worker_id, 0),
               case when c.before < 16000000 then c.output end, case when c.before < 16000000 then c.error end, c.task,
               c.deadline, c.before >= 16000000
           ) order by c.letter, c.n)::text, '[]'),
           count(distinct c.letter), (select count(*) from first)
    into letters, taken, there
    from contents c;
    has_more := there > taken;
end $$;

create function fw_take_away(p_me bigint, p_read bigint[]) returns void language sql
as $$ delete from mail m where m.worker_id = p_me and m.id = any (p_read) $$;

-- What calls have closed, and this worker has not acted upon. As JSON: [[id, root], ...].
create function fw_closings(p_me bigint) returns text language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
begin
    return (
        select coalesce(json_agg(json_build_array(upper(encode(r.id, 'hex')), upper(encode(r.root_id, 'hex'))))::text,
                        '[]')
        from unheard u join run r on r.id = u.run_id where u.worker_id = p_me
    );
end $$;

-- Whether metadata has all that is wanted. What jsonb can't hold matches nothing (see the index run_metadata), and so does
-- what is no JSON, as somebody wrote it by hand.
create function fw_has_metadata(p_metadata text, p_wanted jsonb) returns boolean language plpgsql
as $$
#variable_conflict error
begin
    return p_metadata ~ '^{' and p_metadata !~ '\\u(0000|[dD][89abAB])|[0-9]{250}|[eE][+]?[0-9]{4}' and not exists (
        select from jsonb_each(p_wanted) w where (p_metadata::jsonb -> w.key) is distinct from w.value
    );
exception when data_exception then
    return false;
end $$;
