-- What a commit reads: ends that are waited for, mail, and what calls have closed. What can't be read, as the disk or the
-- server has damaged it, is told as a failure (nothing is recorded), and is looked for when a reading has failed.

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
    damaged bytea[] := '{}';
    over bytea[];
begin
    perform from (
        select v.id from unnest(p_ids) v (id)
        where (select true from watch t where t.run_id = v.id and t.worker_id = p_me) is null
        order by v.id
    ) v
    cross join lateral (select from run r where r.id = v.id and r.state < terminal for share) r;
    insert into watch (run_id, worker_id)
    select r.id, p_me
    from unnest(p_ids) v (id)
    cross join lateral (select x.id from run x where x.id = v.id and x.state < terminal offset 0) r
    on conflict do nothing;
    -- Of a run that ended meanwhile the watch may have been there already: then its end was told, the insertion waited
    -- for the watch to be taken down, and entered it once more.
    over := array(
        select r.id from unnest(p_ids) v (id)
        cross join lateral (select x.id from run x where x.id = v.id and x.state >= terminal offset 0) r
    );
    delete from watch t where t.run_id = any (over) and t.worker_id = p_me;
    loop
        begin
            select coalesce(json_agg(json_build_array(
                       upper(encode(f.id, 'hex')), case when f.whole then f.state else 9 end,
                       case when f.whole and f.before < 16000000 then f.output end,
                       case when not f.whole then fw_unreadable_error() when f.before < 16000000 then f.error end,
                       f.task, f.whole and f.before >= 16000000
                   ) order by f.n)::text, '[]'),
                   coalesce(array_agg(distinct f.task) filter (where f.state = queued_state), '{}')
            into watched, queued
            from (
                select r.id, r.state, r.output, r.error, r.task, v.n, r.id <> all (damaged) as whole,
                       coalesce(sum(coalesce(octet_length(r.output), 0) + coalesce(octet_length(r.error), 0))
                                over (order by v.n rows between unbounded preceding and 1 preceding), 0) as before
                from unnest(p_ids) with ordinality v (id, n)
                cross join lateral (
                    select x.id, x.state, x.output, x.error, x.task from run x where x.id = v.id offset 0
                ) r
            ) f;
            return;
        exception when data_corrupted or index_corrupted then
            damaged := fw_damaged(p_ids, damaged, sqlerrm);
        end;
    end loop;
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
    delete from watch t where t.run_id = any (free) and t.worker_id = p_me;
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
    damaged bytea[] := '{}';
begin
    letters := '[]'; has_more := false;
    if not exists (select from mail m where m.worker_id = p_me and m.id <> all (p_read)) then
        return;
    end if;
    loop
        begin
            select l.letters, l.taken, l.there into letters, taken, there from fw_letters(p_me, p_read, damaged) l;
            has_more := there > taken;
            return;
        exception when data_corrupted or index_corrupted then
            damaged := fw_damaged(array(
                select u.run_id
                from (select m.run_ids from mail m where m.worker_id = p_me and m.id <> all (p_read) order by m.id limit 21) l
                cross join lateral unnest(l.run_ids) u (run_id)
            ), damaged, sqlerrm);
        end;
    end loop;
end $$;

create function fw_letters(
    p_me bigint, p_read bigint[], p_damaged bytea[], out letters text, out taken integer, out there integer
) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
begin
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
        select o.id as letter, o.n, coalesce(r.id, d.id) as id, case when d.id is null then r.state else 9 end as state,
               r.attempt, r.worker_id, r.output, case when d.id is null then r.error else fw_unreadable_error() end as error,
               r.task, r.deadline,
               coalesce(sum(coalesce(octet_length(r.output), 0) + coalesce(octet_length(r.error), 0))
                        over (order by o.id, o.n rows between unbounded preceding and 1 preceding), 0) as before
        from ours o
        left join lateral (select o.run_id as id where o.run_id = any (p_damaged)) d on true
        left join lateral (select x.* from run x where x.id = o.run_id and o.run_id <> all (p_damaged) offset 0) r on true
    )
    select coalesce(json_agg(json_build_array(
               c.letter, upper(encode(c.id, 'hex')), c.state, c.attempt, coalesce(c.worker_id, 0),
               case when c.before < 16000000 then c.output end, case when c.before < 16000000 then c.error end, c.task,
               c.deadline, c.before >= 16000000
           ) order by c.letter, c.n)::text, '[]'),
           count(distinct c.letter)::integer, (select count(*) from first)::integer
    into letters, taken, there
    from contents c;
end $$;

-- (One of SQL would be planned at each call.)
create function fw_take_away(p_me bigint, p_read bigint[]) returns void language plpgsql
as $$
#variable_conflict error
begin
    delete from mail m where m.worker_id = p_me and m.id = any (p_read);
end $$;

-- What calls have closed, and this worker has not acted upon. As JSON: [[id, root], ...].
create function fw_closings(p_me bigint) returns text language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
begin
    return (
        select coalesce(json_agg(json_build_array(upper(encode(r.id, 'hex')), upper(encode(r.root_id, 'hex'))))::text,
                        '[]')
        from unheard u join run r on r.id = any (array[u.run_id]) where u.worker_id = p_me
    );
end $$;

-- Whether metadata has all that is wanted. What jsonb can't hold matches nothing (see the index run_metadata), and so does
-- what is no JSON, as somebody wrote it by hand.
create function fw_has_metadata(p_metadata text, p_wanted jsonb) returns boolean language plpgsql
as $$
#variable_conflict error
begin
    return p_metadata ~ '^{' and p_metadata !~ '\\u(0000|[dD][89abAB])|[0-9]{250}|(:|,|\[)\s*-?[0-9.]+[eE][+]?[0-9]{4,}\s*(,|\]|\})' and not exists (
        select from jsonb_each(p_wanted) w where (p_metadata::jsonb -> w.key) is distinct from w.value
    );
exception when data_exception then
    return false;
end $$;
