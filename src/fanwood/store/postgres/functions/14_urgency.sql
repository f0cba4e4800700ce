-- Other priorities: of a run, and of all below it. Births ask for what was said last of their parents; what lives is told by
-- sweeps (`fw_tell_urgency`), a page at a time, in the order of parents and ids, in which nothing changes its place.
--
-- What is closed keeps the priority that it has: the sweep that is to end it goes by priorities, and would miss what goes to
-- another one meanwhile.

-- Of these runs, as far as anything was said of them, or of what is above them, what was said last. Only in trees in which
-- anything was. Of all ancestors each is looked at once. (Whatever is read of a table is `lateral`; all else is hashed.)
create function fw_said_last(p_ids bytea[]) returns table (run_id bytea, priority_ integer) language plpgsql
set enable_seqscan = off set enable_nestloop = off set enable_mergejoin = off set enable_hashjoin = on
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
begin
    return query
    with recursive
    above (id, parent_id, made_at, priority) as (
        select r.id, r.parent_id, r.made_at, r.priority
        from (select distinct v.id from unnest(p_ids) v (id)) d
        cross join lateral (
            select c.id, c.parent_id, c.root_id,
                   (select u.made_at from urgency u where u.run_id = c.id) as made_at,
                   (select u.priority from urgency u where u.run_id = c.id) as priority
            from run c where c.id = d.id offset 0
        ) r
        where (select true from urgency u where u.root_id = r.root_id limit 1)
        union
        select x.id, x.parent_id, x.made_at, x.priority
        from above a
        cross join lateral (
            select c.id, c.parent_id,
                   (select u.made_at from urgency u where u.run_id = c.id) as made_at,
                   (select u.priority from urgency u where u.run_id = c.id) as priority
            from run c where c.id = a.parent_id offset 0
        ) x
    ),
    last (id, made_at, priority) as (
        select a.id, a.made_at, a.priority from above a where a.parent_id is null
        union all
        select a.id, greatest(a.made_at, l.made_at),
               case when l.made_at is null or a.made_at > l.made_at then a.priority else l.priority end
        from last l join above a on a.parent_id = l.id
    )
    select l.id, l.priority from last l where l.made_at is not null and l.id = any (p_ids);
end $$;

-- These have the priorities from now on that were said last; those that live, or (p_over) have ended. How many have others.
create function fw_set_priorities(p_ids bytea[], p_over boolean) returns integer language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    terminal constant smallint := 8;
    places tid[];
    priorities integer[];
    changed integer;
begin
    select array_agg(l.place), array_agg(l.priority) into places, priorities
    from (select s.run_id, s.priority_ from fw_said_last(p_ids) s order by s.run_id) s
    cross join lateral (
        select x.ctid as place, s.priority_ as priority from run x
        where x.id = s.run_id and x.priority <> s.priority_ and (x.state >= terminal) = p_over
        for no key update
    ) l;
    update run r set priority = v.priority from unnest(places, priorities) v (place, priority) where r.ctid = v.place;
    get diagnostics changed = row_count;
    return changed;
end $$;

-- Of these kinds of children that are spawned the priorities that they have, since something was said of their parents: their
-- numbers, and the others as they were sent.
create function fw_urge(p_ids bytea[], p_owner integer[], p_priority integer[], out priorities integer[], out kinds integer[])
language plpgsql
as $$
#variable_conflict error
declare
    said record;
begin
    priorities := p_priority; kinds := '{}';
    for said in
        select k.n::integer as n, s.priority_
        from fw_said_last(p_ids) s
        join unnest(p_owner) with ordinality k (owner, n) on k.owner > 0 and p_ids[k.owner] = s.run_id
    loop
        if priorities[said.n] <> said.priority_ then
            priorities[said.n] := said.priority_; kinds := kinds || said.n;
        end if;
    end loop;
end $$;

-- A call gives a run another priority, and all below it. `before`: which one it had; null: there is no such run.
create function fw_reprioritize(p_id bytea, p_now bigint, p_priority integer, p_by text, out before integer) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    root bytea;
    attempt_ integer;
begin
    perform fw_enter_gates();
    select r.root_id into root from run r where r.id = p_id;
    perform from run r where r.id = root and r.id <> p_id for key share;  -- against whoever deletes the tree
    perform from urgency u where u.run_id = p_id for update;  -- before the run, as those do who tell of it
    select r.priority, r.attempt into before, attempt_ from run r where r.id = p_id for no key update;
    if not found then
        return;
    end if;
    if (select cardinality(c.ids) from fw_closed(array[p_id]) c) = 0 then
        update run r set priority = p_priority where r.id = p_id and r.priority <> p_priority;
    end if;
    perform fw_note(p_id, attempt_, p_now, format('given priority %s by %s; it had %s', p_priority, p_by, before));
    insert into urgency (run_id, root_id, priority, made_at, asked_by, place)
    values (
        p_id, root, p_priority,
        greatest(p_now, (select coalesce(max(u.made_at) + 1, 0) from urgency u where u.root_id = root)), p_by, '\x'
    )
    on conflict (run_id) do update
    set priority = excluded.priority, made_at = excluded.made_at, asked_by = excluded.asked_by, place = excluded.place;
end $$;

-- Of these those that are closed end; which live on, and whom it was written to.
create function fw_end_closed(p_now bigint, p_ids bytea[], out living bytea[], out told bigint[]) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    terminal constant smallint := 8;
    places tid[];
    part record;
begin
    select coalesce(array_agg(l.id), '{}'), coalesce(array_agg(l.place), '{}') into living, places
    from (select v.id from unnest(p_ids) v (id) order by v.id) v
    cross join lateral (
        select x.id, x.ctid as place from run x where x.id = v.id and x.state < terminal for update
    ) l;
    select c.closed, c.told into part from fw_cut(p_now, living, places) c;
    told := part.told;
    living := array(select v.id from unnest(living) v (id) where v.id <> all (part.closed));
end $$;

-- One page of a tree in which something was said (p_root: of that one); what is closed ends. After the last one workers are
-- told, who may have claimed something of it and not begun it. As JSON: [runs that were looked at, whether there is more,
-- token]. With a token nothing was done: what is under way, and may not have seen what was said, comes first; p_seen says that
-- it was waited for.
create function fw_tell_urgency(p_root bytea, p_seen text, p_now bigint, p_limit integer, p_notify boolean)
returns text language plpgsql
set search_path from current set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    terminal constant smallint := 8;
    one record;
    token text;
    above bytea;
    at bytea;
    last bytea;
    looked integer;
    living bytea[];
    told bigint[] := '{}';
begin
    if p_root is null then
        select u.run_id, u.root_id, u.made_at, u.place into one from urgency u
        where u.place is not null order by u.made_at, u.run_id limit 1 for update skip locked;
    else
        select u.run_id, u.root_id, u.made_at, u.place into one from urgency u
        where u.place is not null and u.root_id = p_root order by u.made_at, u.run_id limit 1 for update skip locked;
    end if;
    if not found then
        return json_build_array(0, exists (
            select from urgency u where u.place is not null and (p_root is null or u.root_id = p_root)
        ), null)::text;
    end if;
    token := encode(one.run_id, 'hex') || one.made_at;
    if one.place = '\x' and token is distinct from p_seen and fw_others_look() then
        return json_build_array(0, true, token)::text;
    end if;
    perform fw_tell_workers();
    perform fw_enter_gates();
    above := substr(one.place, 1, 16); at := substr(one.place, 17);
    select count(*), array_agg(w.id order by w.n) filter (where w.state < terminal),
           (array_agg(w.parent_id || w.id order by w.n desc))[1]
    into looked, living, last
    from (
        select r.parent_id, r.id, r.state, row_number() over (order by r.root_id, r.parent_id, r.id) as n from run r
        where r.root_id = one.root_id and r.parent_id is not null and (r.parent_id, r.id) > (above, at)
        order by r.root_id, r.parent_id, r.id limit p_limit
    ) w;
    if living is not null and exists (select from gate g where g.root_id = one.root_id and g.what = 1) then
        select c.living, c.told into living, told from fw_end_closed(coalesce(p_now, fw_micros()), living) c;
    end if;
    if living is not null then
        perform fw_set_priorities(living, false);
    end if;
    update urgency u set place = case when looked = p_limit then last end where u.run_id = one.run_id;
    if looked < p_limit then  -- (of a run that was never claimed nobody holds anything)
        told := told || case when (select r.attempt from run r where r.id = one.run_id) > 0
                             then fw_unheard(one.run_id, coalesce(p_now, fw_micros())) else '{}' end;
    end if;
    if p_notify then
        perform fw_announce(told, '{}');
    end if;
    return json_build_array(greatest(looked, 1), looked = p_limit or exists (
        select from urgency u where u.place is not null and (p_root is null or u.root_id = p_root)
    ), null)::text;
end $$;
