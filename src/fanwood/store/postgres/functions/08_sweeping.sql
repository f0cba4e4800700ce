-- Ending what is below closed runs, a bounded part at a time: `gates.py` calls `fw_sweep`, each time a transaction of its
-- own. The living of a tree are found by the indexes of those that are QUEUED, RUNNING and WAITING; who has ended is never
-- walked.

-- Whether a transaction is under way that looks at gates, and may not have seen one that was made just now. (This one does
-- not look at them.)
create function fw_others_look() returns boolean language plpgsql
as $$
#variable_conflict error
begin
    return exists (
        select from pg_locks l
        where l.locktype = 'advisory' and l.objsubid = 2 and l.classid = 1178687812
          and l.objid = (hashtext(current_schema())::bigint & 4294967295)::oid
          and l.database = (select d.oid from pg_database d where d.datname = current_database()) and l.granted
    );
end $$;

-- Take up one of the trees in which something is closed (p_root: that one), the one that has waited longest: its gate that
-- leads, and how far it is (0: not begun). A new pass covers all gates of the tree that are seen now: `token` is another
-- one for others. None: somebody else is at all of these trees (any_), or there are none.
create function fw_lead(p_root bytea, out lead bytea, out root bytea, out phase_ integer, out token text, out any_ boolean)
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    candidate record;
    seen bytea[] := '{}';
begin
    any_ := false;
    for candidate in
        (select g.root_id, g.run_id, g.pass from gate g where g.what = 1 and p_root is null
         order by g.made_at, g.run_id limit 100)
        union all
        (select g.root_id, g.run_id, g.pass from gate g where g.what = 1 and g.root_id = p_root
         order by g.made_at, g.run_id limit 1)
    loop
        any_ := true;
        continue when candidate.root_id = any (seen);
        seen := seen || candidate.root_id;
        if pg_try_advisory_xact_lock(1178687813, hashtext(current_schema() || encode(candidate.root_id, 'hex'))) then
            root := candidate.root_id;
            select g.run_id, g.phase into lead, phase_ from gate g
            where g.run_id = candidate.pass and g.pass = candidate.pass and g.what = 1;
            exit when found;
            select g.run_id, 0 into lead, phase_ from gate g where g.run_id = candidate.run_id and g.what = 1;
            exit when found;  -- else it was swept just now
        end if;
    end loop;
    if phase_ = 0 then
        update gate g set pass = lead, phase = 0, place = null where g.root_id = root and g.what = 1;
        token := (
            select md5(string_agg(encode(g.run_id, 'hex') || g.made_at, ',' order by g.run_id))
            from gate g where g.root_id = root and g.pass = lead
        );
    end if;
end $$;

-- The next page of those QUEUED: [task, priority, depth, id] is where the last one ended.
create function fw_page_queued(p_root bytea, p_place text, p_limit integer, out ids bytea[], out place text)
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    t text := p_place::json ->> 0;
    p integer := (p_place::json ->> 1)::integer;
    d integer := (p_place::json ->> 2)::integer;
    i bytea := decode(p_place::json ->> 3, 'hex');
    steps integer := 0;
    chunk bytea[];
    found_ record;
begin
    ids := '{}';
    loop
        if t is not null then
            -- From the very place: before it are the entries of all that ended, until they are vacuumed.
            chunk := array(
                select r.id from run r
                where r.task = t and r.priority = p and r.root_id = p_root and r.depth between d and d and r.id > i
                  and r.state = 0
                order by r.task, r.priority desc, r.root_id, r.depth desc, r.id limit p_limit - cardinality(ids)
            );
            if cardinality(chunk) > 0 then
                ids := ids || chunk; i := chunk[cardinality(chunk)];
            end if;
            exit when cardinality(ids) >= p_limit;
            select r.depth into found_ from run r
            where r.task = t and r.priority = p and r.root_id = p_root and r.depth < d and r.state = 0
            order by r.task, r.priority desc, r.root_id, r.depth desc, r.id limit 1;
            if found then
                d := found_.depth; i := '\x';
                continue;
            end if;
        end if;
        steps := steps + 1;
        exit when steps > 1000;
        select r.task, r.priority into found_ from run r where r.state = 0 and r.task = t and r.priority < p
        order by r.task, r.priority desc, r.root_id, r.depth desc, r.id limit 1;
        if not found then
            select r.task, r.priority into found_ from run r where r.state = 0 and r.task > coalesce(t, '')
            order by r.task, r.priority desc, r.root_id, r.depth desc, r.id limit 1;
        end if;
        if not found then
            place := null;
            return;
        end if;
        t := found_.task; p := found_.priority; d := 2147483647; i := '\x';
    end loop;
    place := json_build_array(t, p, d, encode(i, 'hex'))::text;
end $$;

-- ... of those RUNNING: a part of all that run, [worker, id].
create function fw_page_running(p_root bytea, p_place text, p_limit integer, out ids bytea[], out place text)
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    w bigint := coalesce((p_place::json ->> 0)::bigint, -1);
    i bytea := coalesce(decode(p_place::json ->> 1, 'hex'), '\x');
    looked_at integer := 0;
    found_ record;
begin
    ids := '{}';
    for found_ in
        select r.worker_id, r.id, r.root_id from run r
        where r.state = 1 and (r.worker_id, r.id) > (w, i) order by r.worker_id, r.id limit 5000
    loop
        looked_at := looked_at + 1; w := found_.worker_id; i := found_.id;
        if found_.root_id = p_root then
            ids := ids || found_.id;
        end if;
        exit when cardinality(ids) >= p_limit;
    end loop;
    if looked_at = 5000 or cardinality(ids) >= p_limit then
        place := json_build_array(w, encode(i, 'hex'))::text;
    end if;
end $$;

-- ... of those WAITING: [id].
create function fw_page_waiting(p_root bytea, p_place text, p_limit integer, out ids bytea[], out place text)
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
begin
    ids := array(
        select r.id from run r
        where r.state = 2 and r.root_id between p_root and p_root and r.id > coalesce(decode(p_place::json ->> 0, 'hex'), '\x')
        order by r.root_id, r.id limit p_limit
    );
    if cardinality(ids) = p_limit then
        place := json_build_array(encode(ids[p_limit], 'hex'))::text;
    end if;
end $$;

-- What is said of children, in their order: whose they are, by which attempt they were asked for, and what becomes of them
-- when their parent ends. Null: they are not below anything that is closed. It is asked of the parents, which are fewer.
create function fw_reasons(p_above bytea[], p_asked integer[], p_policies smallint[]) returns text[] language plpgsql
set enable_seqscan = off set enable_nestloop = off set enable_mergejoin = off set enable_hashjoin = on
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    parents constant bytea[] := array(select distinct v.id from unnest(p_above) v (id));
    closed bytea[];
    reasons text[];
begin
    select c.ids, c.reasons into closed, reasons from fw_closed(parents, p_stay => true) c;
    return array(
        select coalesce(case when fw_covers(g.itself, v.asked, v.policy, null, null) then (g.itself).error end, s.reason)
        from unnest(p_above, p_asked, p_policies) with ordinality v (id, asked, policy, n)
        left join (
            select x.id, y.itself from unnest(parents) x (id)
            cross join lateral (select g as itself from gate g where g.run_id = x.id and g.what = 1 offset 0) y
        ) g on g.id = v.id
        left join unnest(closed, reasons) s (id, reason) on s.id = v.id
        order by v.n
    );
end $$;

-- Whether the end of any of these, which are in the order of their ids, concerns others: who watches it, waits for it, shares
-- it, or is to help it. Siblings were born one after another, and between the first and the last of them there is seldom
-- anybody else: so what lies there is read, and each is asked for only where that is much.
create function fw_concern(p_ids bytea[]) returns boolean language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    few constant integer := 20;
    i constant bytea := p_ids[1];
    j constant bytea := p_ids[cardinality(p_ids)];
    ids bytea[] := array(
        (select w.run_id from watch w where w.run_id between i and j order by w.run_id limit few)
        union all (select a.run_id from awaited a where a.run_id between i and j order by a.run_id limit few)
        union all (select s.run_id from suspended s where s.run_id between i and j order by s.run_id limit few)
        union all (select s.run_id from shared s where s.run_id between i and j order by s.run_id limit few)
        union all (select h.run_id from hedge h where h.run_id between i and j order by h.run_id limit few)
        union all (select h.target_id from hedge h where h.target_id between i and j order by h.target_id limit few)
    );
begin
    if cardinality(ids) < few then
        return p_ids && ids;
    end if;
    return exists (
        select from unnest(p_ids) v (id) where coalesce(
            (select true from watch w where w.run_id = v.id limit 1),
            (select true from awaited a where a.run_id = v.id limit 1),
            (select true from suspended s where s.run_id = v.id limit 1),
            (select true from shared s where s.run_id = v.id limit 1),
            (select true from hedge h where h.run_id = v.id limit 1),
            (select true from hedge h where h.target_id = v.id limit 1)
        )
    );
end $$;

-- The next page of those QUEUED, if each of it is below something that is closed and its end concerns nobody else: then all
-- end in one statement, as nothing is to be said of any. Else null, and nobody has ended. What others hold (a claim, which
-- ends it itself) is passed by, and the page comes once more.
create function fw_end_children(
    p_root bytea, p_place text, p_now bigint, p_limit integer, out ended integer, out place text
)
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    queued constant smallint := 0;
    t constant text := p_place::json ->> 0;
    p constant integer := (p_place::json ->> 1)::integer;
    d constant integer := (p_place::json ->> 2)::integer;
    i constant bytea := decode(p_place::json ->> 3, 'hex');
    ids bytea[];
    places tid[];
    locked tid[];
    above bytea[];
    asked integer[];
    policies smallint[];
    errors text[];
    ends boolean;
begin
    select array_agg(c.id), array_agg(c.place), array_agg(c.parent_id), array_agg(c.asked), array_agg(c.on_parent_end),
           bool_and(c.on_parent_end <> 2 and c.budget is distinct from c.id)
    into ids, places, above, asked, policies, ends
    from (
        select r.ctid as place, r.id, r.parent_id, r.asked, r.on_parent_end, r.budget
        from run r
        where r.task = t and r.priority = p and r.root_id = p_root and r.depth between d and d and r.id > i and r.state = 0
        order by r.task, r.priority desc, r.root_id, r.depth desc, r.id limit p_limit
    ) c;
    if ends is not true or fw_concern(ids) then
        return;
    end if;
    errors := fw_reasons(above, asked, policies);
    if array_position(errors, null) is not null then
        return;
    end if;
    select array_agg(v.place), array_agg(v.error) into locked, errors
    from unnest(places, errors, asked) v (place, error, asked)
    cross join lateral (  -- (somebody may have asked for it anew meanwhile)
        select from run x where x.ctid = v.place and x.state = queued and x.asked = v.asked for update skip locked
    ) l;
    -- After that: somebody may have begun to wait for it until it was locked, and that is to be seen.
    if locked is null or fw_concern(ids) then
        return;
    end if;
    update run r
    set state = 10, output = null, error = v.error, finished_at = p_now, ended_by = 3, expires_at = null
    from unnest(locked, errors) v (place, error)
    where r.ctid = v.place and r.budget is distinct from r.id;
    get diagnostics ended = row_count;
    place := case
        when ended = cardinality(places) then json_build_array(t, p, d, encode(ids[cardinality(ids)], 'hex'))::text
        when ended > 0 then p_place
    end;
end $$;

-- One page of a pass. What others hold at this moment is passed by, unless nothing else is left of the page: then it is
-- waited for, one run at a time, as whoever holds it may change nothing of it (not p_first: not now, as some have ended in
-- this transaction). How many ended, whom it was written to, and whether to go on in this transaction.
create function fw_sweep_page(
    p_lead bytea, p_now bigint, p_limit integer, p_first boolean,
    out ended integer, out told bigint[], out goes_on boolean
)
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    terminal constant smallint := 8;
    g record;
    page bytea[];
    held bytea[] := '{}';
    locked bytea[];
    places tid[];
    next_ text;
begin
    ended := 0; told := '{}'; goes_on := false;
    select x.root_id, x.phase, x.place into g from gate x where x.run_id = p_lead and x.pass = p_lead for update;
    if not found then  -- it was made anew meanwhile
        return;
    end if;
    if g.phase <= 1 and g.place is not null then
        select c.ended, c.place into ended, next_ from fw_end_children(g.root_id, g.place, p_now, p_limit) c;
        if next_ is not null then
            update gate x set place = next_ where x.run_id = p_lead;
            goes_on := true;
            return;
        end if;
        ended := 0;
    end if;
    if g.phase <= 1 then
        select p.ids, p.place into page, next_ from fw_page_queued(g.root_id, g.place, p_limit) p;
    elsif g.phase = 2 then
        select p.ids, p.place into page, next_ from fw_page_running(g.root_id, g.place, p_limit) p;
    else
        select p.ids, p.place into page, next_ from fw_page_waiting(g.root_id, g.place, p_limit) p;
    end if;
    select coalesce(array_agg(r.id), '{}'), coalesce(array_agg(r.place), '{}') into locked, places
    from (select c.id from unnest(page) c (id) order by c.id) c
    cross join lateral (
        select x.id, x.ctid as place from run x where x.id = c.id and x.state < terminal for update skip locked
    ) r;
    select c.told, cardinality(c.cut) into told, ended from fw_cut(p_now, locked, places) c;
    if cardinality(locked) < cardinality(page) then  -- others hold them; or they ended meanwhile, by themselves
        held := array(
            select c.id from unnest((
                select h.ids from fw_closed(array(
                    select p.id from unnest(page) p (id) except select l.id from unnest(locked) l (id)
                )) h
            )) c (id)
            join run r on r.id = any (array[c.id]) where r.state < terminal order by c.id
        );
    end if;
    if cardinality(held) > 0 then
        if ended = 0 and p_first then
            select array_agg(r.ctid), array_agg(r.id) into places, locked
            from (select x.ctid, x.id from run x where x.id = held[1] and x.state < terminal for update) r;
            select c.told, cardinality(c.cut) into told, ended
            from fw_cut(p_now, coalesce(locked, '{}'), coalesce(places, '{}')) c;
        end if;
        if ended > 0 or cardinality(held) > 1 or not p_first then
            return;  -- this page once more
        end if;
    end if;
    goes_on := true;
    if next_ is not null then
        update gate x set place = next_, phase = greatest(g.phase, 1) where x.run_id = p_lead;
    elsif g.phase < 3 then
        update gate x set phase = greatest(g.phase, 1) + 1, place = null where x.run_id = p_lead;
    else
        delete from gate x where x.root_id = g.root_id and x.pass = p_lead and x.what = 1;
        goes_on := false;
    end if;
end $$;

-- Whether there are deadlines that moved, something that was resumed, or priorities that changed.
create function fw_sweeps_else() returns boolean language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
begin
    return exists (select from moved_deadline) or exists (select from pause p where p.resumed_at is not null)
        or exists (select from urgency u where u.place is not null);
end $$;

-- As much of one pass as fits: p_limit runs, and no new page after p_budget microseconds. As JSON: [how many ended,
-- whether there is more, token, whether there is something else that is swept]. With a token nothing was done: a new pass
-- begins, and what is under way, and may not have seen its gates, comes first; p_seen says that it was waited for.
create function fw_sweep(
    p_root bytea, p_seen text, p_now bigint, p_limit integer, p_budget integer, p_notify boolean
) returns text language plpgsql
set search_path from current set jit = off
as $$
#variable_conflict error
declare
    until constant timestamptz := clock_timestamp() + p_budget * interval '1 microsecond';
    now_ constant bigint := coalesce(p_now, fw_micros());
    ended integer := 0;
    told bigint[] := '{}';
    l record;
    part record;
begin
    -- If a crash of the server takes it away, it is done again: the gates are there still.
    perform set_config('synchronous_commit', 'off', true);
    select f.lead, f.phase_, f.token, f.any_ into l from fw_lead(p_root) f;
    if l.lead is null then
        return json_build_array(0, l.any_, null, fw_sweeps_else())::text;
    end if;
    if l.phase_ = 0 and l.token is distinct from p_seen and fw_others_look() then
        return json_build_array(0, true, l.token, true)::text;
    end if;
    loop
        select s.* into part from fw_sweep_page(l.lead, now_, p_limit - ended, ended = 0) s;
        ended := ended + part.ended; told := told || part.told;
        exit when not part.goes_on or ended >= p_limit or clock_timestamp() >= until;
    end loop;
    if p_notify then
        perform fw_announce(told, '{}');
    end if;
    return json_build_array(ended, exists (
        select from gate g where g.what = 1 and (p_root is null or g.root_id = p_root)
    ), null, fw_sweeps_else())::text;
end $$;
