-- Deadlines that move. What is below a run and has its deadline from it is not touched in the commit: the run itself says
-- what its limit is now (`limit_at`), and that is looked at before anything is failed by a deadline (`fw_deadlines`).
-- Everything that lives of the tree is told a page at a time (`fw_tell_deadlines`).

-- The limits of these attempts are now these; the last one, if there are several of one. Whether any has moved. The row of
-- a tree may be wanted by several at once, so it comes last, and in order.
create function fw_move_limits(
    p_now bigint, p_fenced integer[], o fw_owners, d_owner integer[], d_deadline bigint[]
) returns boolean language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    running constant smallint := 1;
    moved bytea[];
begin
    with last as materialized (
        select distinct on (d.owner) o.id[d.owner] as id, o.attempt[d.owner] as attempt, d.deadline
        from unnest(d_owner, d_deadline) with ordinality d (owner, deadline, n)
        where d.owner <> all (p_fenced)
        order by d.owner, d.n desc
    ),
    done as (
        update run r set limit_at = v.deadline
        from last v
        where r.id = any (array[v.id]) and r.attempt = v.attempt and r.state = running and r.limit_at is distinct from v.deadline
        returning r.id
    )
    select array_agg(d.id) into moved from done d;
    if moved is null then
        return false;
    end if;
    insert into moved_deadline (root_id, made_at)
    select distinct r.root_id, p_now
    from unnest(moved) v (id)
    cross join lateral (select x.id, x.root_id from run x where x.id = v.id offset 0) r
    where (select true from run c where c.root_id = r.root_id and c.parent_id = r.id limit 1)
    order by r.root_id
    on conflict (root_id) do update set again = true;
    return true;
end $$;

-- Of these runs, as far as they live and have deadlines: what is written in their rows, and what it is. A deadline is the
-- least of what those say that it comes from: its owner, the owner of that one's deadline, and so on.
create function fw_deadlines(p_ids bytea[]) returns table (run_id bytea, written bigint, deadline_ bigint) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    terminal constant smallint := 8;
begin
    return query
    with recursive above (id, owner, deadline, first) as (
        select r.id, r.deadline_by, r.deadline, r.deadline
        from unnest(p_ids) v (id)
        cross join lateral (
            select x.id, x.deadline_by, x.deadline from run x
            where x.id = v.id and x.state < terminal and x.deadline is not null offset 0
        ) r
        union all
        select a.id, x.deadline_by, x.deadline, a.first
        from above a
        cross join lateral (
            select x.deadline_by, x.deadline from run x where x.id = a.owner and x.deadline is not null offset 0
        ) x
    )
    select a.id, a.first, min(coalesce((select x.limit_at from run x where x.id = a.owner), a.deadline))
    from above a group by a.id, a.first;
end $$;

-- Those of these runs whose rows did not have the deadlines that they have; they do now, and their workers are told. What
-- others hold at this moment is passed by: it is looked at before it is failed. Whom it was written to.
create function fw_correct_deadlines(p_now bigint, p_ids bytea[], out corrected bytea[], out told bigint[]) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    running constant smallint := 1;
    terminal constant smallint := 8;
    longest constant bigint := 4000000000000000000;
    deadlines bigint[];
begin
    told := '{}';
    select array_agg(c.run_id), array_agg(c.deadline_) into corrected, deadlines
    from (
        select d.run_id, d.deadline_ from fw_deadlines(p_ids) d
        cross join lateral (
            select from run r where r.id = d.run_id and r.state < terminal for update skip locked
        ) r
        where d.deadline_ <> d.written
    ) c;
    if corrected is null then
        corrected := '{}';
        return;
    end if;
    update run r
    set deadline = v.deadline,
        expires_at = case
            when r.state = running or (r.expires_at < r.deadline and r.expires_at < v.deadline) then r.expires_at
            when exists (select from suspended s where s.run_id = r.id and s.attempt = r.attempt) then v.deadline  -- it has begun
            -- (Of one that was handed back nobody knows any more from when on it could begin.)
            else least(v.deadline, coalesce(case when r.attempt = 0 then r.created_at end, (
                                       select a.due_at from attempt a where a.run_id = r.id and a.number = r.attempt
                                   ), p_now) + case when r.schedule_timeout < longest then r.schedule_timeout end)
        end
    from unnest(corrected, deadlines) v (id, deadline)
    where r.id = any (array[v.id]);
    with mailed as (
        insert into mail (worker_id, run_ids, size)
        select r.worker_id, array_agg(r.id), 0
        from unnest(corrected) v (id) join run r on r.id = any (array[v.id]) join worker w on w.id = r.worker_id
        where r.state = running
        group by r.worker_id
        returning worker_id
    )
    select coalesce(array_agg(m.worker_id), '{}') into told from mailed m;
end $$;

-- One page of the tree whose turn it is. One engine at a time: others need not. As JSON: [at how many was looked, whether
-- there is more]. (The row of the tree comes last: commits want it as well.)
create function fw_tell_deadlines(p_now bigint, p_limit integer, p_notify boolean) returns text language plpgsql
set search_path from current set jit = off set enable_seqscan = off set enable_bitmapscan = off
as $$
#variable_conflict error
declare
    m record;
    page bytea[];
    next_ text;
    told bigint[];
    looked integer := 0;
begin
    if not exists (select from moved_deadline) then
        return '[0,false]';
    end if;
    if not pg_try_advisory_xact_lock(1178687814, hashtext(current_schema())) then
        return '[0,true]';
    end if;
    select x.root_id, x.phase, x.place into m from moved_deadline x order by x.made_at, x.root_id limit 1;
    if found then
        if m.phase = 1 then
            select p.ids, p.place into page, next_ from fw_page_queued(m.root_id, m.place, p_limit) p;
        elsif m.phase = 2 then
            select p.ids, p.place into page, next_ from fw_page_running(m.root_id, m.place, p_limit) p;
        else
            select p.ids, p.place into page, next_ from fw_page_waiting(m.root_id, m.place, p_limit) p;
        end if;
        looked := greatest(1, cardinality(page));
        select c.told into told from fw_correct_deadlines(coalesce(p_now, fw_micros()), page) c;
        if p_notify then
            perform fw_announce(told, '{}');
        end if;
        if next_ is not null or m.phase < 3 then
            update moved_deadline x
            set place = next_, phase = m.phase + (next_ is null)::integer
            where x.root_id = m.root_id;
        else
            delete from moved_deadline x where x.root_id = m.root_id and not x.again;
            if not found then
                update moved_deadline x
                set again = false, phase = 1, place = null, made_at = coalesce(p_now, fw_micros())
                where x.root_id = m.root_id;
            end if;
        end if;
    end if;
    return json_build_array(looked, exists (select from moved_deadline))::text;
end $$;
