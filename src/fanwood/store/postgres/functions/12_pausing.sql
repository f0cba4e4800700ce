-- What is paused: runs of a tree in which there is a row in `pause` that was not taken back. Births and claims ask; whoever
-- pauses waits for those that may not have seen it, as whoever closes does (08_sweeping.sql).

-- Which of these runs are paused, themselves or by something above them. Only in trees in which there is a pause. Of all
-- ancestors each is looked at once. (Whatever is read of a table is `lateral`; all else is hashed.)
create function fw_paused(p_ids bytea[]) returns bytea[] language plpgsql
set enable_seqscan = off set enable_nestloop = off set enable_mergejoin = off set enable_hashjoin = on
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
begin
    if cardinality(p_ids) = 0 or not exists (select from pause p where p.resumed_at is null) then
        return '{}';
    end if;
    return (
        with recursive
        asked_for as materialized (
            select r.id, r.parent_id, r.root_id
            from unnest(p_ids) v (id)
            cross join lateral (select c.id, c.parent_id, c.root_id from run c where c.id = v.id offset 0) r
        ),
        mine as materialized (
            select a.*
            from (select distinct d.root_id from asked_for d) t
            cross join lateral (
                select true from pause p where p.root_id = t.root_id and p.resumed_at is null limit 1
            ) p
            join asked_for a on a.root_id = t.root_id
        ),
        above (id, parent_id, shut) as (
            select x.id, x.parent_id, x.shut
            from (select distinct m.parent_id as id from mine m) d
            cross join lateral (
                select c.id, c.parent_id,
                       (select true from pause p where p.run_id = c.id and p.resumed_at is null) as shut
                from run c where c.id = d.id offset 0
            ) x
            union
            select x.id, x.parent_id, x.shut
            from above a
            cross join lateral (
                select c.id, c.parent_id,
                       (select true from pause p where p.run_id = c.id and p.resumed_at is null) as shut
                from run c where c.id = a.parent_id offset 0
            ) x
            where a.shut is null
        ),
        shut (id) as (
            select a.id from above a where a.shut
            union all
            select a.id from shut s join above a on a.parent_id = s.id where a.shut is null
        )
        select coalesce(array_agg(m.id), '{}')
        from mine m left join shut s on s.id = m.parent_id
        where s.id is not null or (select true from pause p where p.run_id = m.id and p.resumed_at is null)
    );
end $$;

-- Of these runs, which are QUEUED and which the caller has locked where they stand, those wait that are paused. Which.
create function fw_hold(p_ids bytea[], p_places tid[]) returns bytea[] language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    held constant bytea[] := fw_paused(p_ids);
begin
    if cardinality(held) > 0 then
        update run r set state = 2, waits = 9, due_at = null
        from unnest(p_places, p_ids) v (place, id)
        where r.ctid = v.place and v.id = any (held);
    end if;
    return held;
end $$;

-- What stands first in the queue of these tasks, and is paused, waits; whether there was any. A claim of one run would else
-- move one. What others hold is passed by.
create function fw_clear(p_tasks text[]) returns boolean language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    queued constant smallint := 0;
    at_once constant integer := 100;
    heads bytea[];
    held bytea[];
    ids bytea[];
    places tid[];
    moved boolean := false;
begin
    for round in 1 .. 5 loop
        heads := array(
            select q.id
            from unnest(p_tasks) t (task)
            cross join lateral (
                select r.id, r.priority, r.root_id, r.depth from run r
                where r.task = t.task and r.state = 0
                order by r.task, r.priority desc, r.root_id, r.depth desc, r.id limit at_once
            ) q
            order by q.priority desc, q.root_id, q.depth desc, q.id limit at_once
        );
        held := fw_paused(heads);
        exit when cardinality(held) = 0;
        select array_agg(l.place), array_agg(l.id) into places, ids
        from (select v.id from unnest(held) v (id) order by v.id) v
        cross join lateral (
            select x.ctid as place, x.id from run x where x.id = v.id and x.state = queued for update skip locked
        ) l;
        exit when places is null;
        held := fw_hold(ids, places);
        moved := true;
        exit when cardinality(held) < at_once;
    end loop;
    return moved;
end $$;

-- Runs that were born QUEUED a moment ago, in this transaction, wait, as their parents are paused.
create function fw_wait(p_ids bytea[]) returns void language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    queued constant smallint := 0;
begin
    update run r set state = 2, waits = 9 from unnest(p_ids) v (id) where r.id = any (array[v.id]) and r.state = queued;
end $$;

-- Which of these spawns were sent as claimed, and were not so born: their numbers, from 1.
create function fw_unclaimed(p_ids bytea[], p_claimed boolean[]) returns integer[] language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
begin
    return array(
        select v.n::integer from unnest(p_ids, p_claimed) with ordinality v (id, claimed, n)
        cross join lateral (select x.attempt from run x where x.id = v.id offset 0) r
        where v.claimed and r.attempt = 0 order by v.n
    );
end $$;

-- A call pauses a run with all below it. Whoever has claimed something is to hear of it. (A pause by a name that ends with
-- p_meanwhile is one for the time of something else: it is this one from then on.) `new_`: it was not paused, by
-- itself; null: there is no such run.
create function fw_pause(
    p_id bytea, p_now bigint, p_by text, p_meanwhile text, out new_ boolean, out told bigint[]
) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    root bytea;
begin
    told := '{}';
    perform fw_tell_workers();
    select r.root_id into root from run r where r.id = p_id;
    perform from run r where r.id = root for key share;  -- against whoever deletes the tree
    perform from run r where r.id = p_id for key share;
    if not found then
        return;
    end if;
    insert into pause (run_id, root_id, made_at, asked_by) values (p_id, root, p_now, p_by)
    on conflict (run_id) do update
    set made_at = excluded.made_at, asked_by = excluded.asked_by, resumed_at = null, place = null
    where pause.resumed_at is not null
       or (right(pause.asked_by, length(p_meanwhile)) = p_meanwhile and right(p_by, length(p_meanwhile)) <> p_meanwhile);
    new_ := found;
    if new_ then
        told := fw_unheard(p_id, p_now);
    end if;
end $$;

-- ... and takes that back (p_only: if its name ends so): what waits for it is queued by `fw_release`.
create function fw_resume(p_id bytea, p_now bigint, p_only text default '') returns boolean language plpgsql
set enable_seqscan = off
as $$
#variable_conflict error
begin
    update pause p set resumed_at = p_now, place = '\x' where p.run_id = p_id and p.resumed_at is null
      and right(p.asked_by, length(p_only)) = p_only;
    return found;
end $$;

-- One page of what waits in trees in which a pause was taken back (p_root: in that one): what nothing else pauses is
-- queued. Fifty trees at most, so that a page is short. As JSON: [runs that were looked at,
-- whether there is more, token]. With a token nothing was done: what is under way, and may have seen these pauses, and move
-- something after the page has passed by, comes first; p_seen says for which of them it was waited.
create function fw_release(p_root bytea, p_seen text, p_now bigint, p_limit integer, p_notify boolean)
returns text language plpgsql
set search_path from current set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off
set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    now_ constant bigint := coalesce(p_now, fw_micros());
    waiting constant smallint := 2;
    one record;
    page record;
    key text;
    unseen text := '';  -- pauses that others under way may not have seen to be taken back
    others boolean;
    looked integer := 0;
    roots bytea[] := '{}';
    ids bytea[] := '{}';
    places tid[];
    n integer;
    ready text[];
    told bigint[];
begin
    for one in
        select p.run_id, p.root_id, p.resumed_at, p.place from pause p
        where p.resumed_at is not null and (p_root is null or p.root_id = p_root)
        order by p.resumed_at, p.run_id limit 50 for update skip locked
    loop
        exit when looked >= p_limit;
        continue when one.root_id = any (roots);
        key := encode(one.run_id, 'hex') || one.resumed_at || ' ';
        if one.place = '\x' and position(key in coalesce(p_seen, '')) = 0 then
            others := coalesce(others, fw_others_look());
            if others then
                unseen := unseen || key;
                continue;
            end if;
        end if;
        if roots = '{}' then
            perform fw_enter_gates();
        end if;
        roots := roots || one.root_id;
        select max(encode(w.id, 'hex')) as last, count(*) as looked, array_agg(w.id) filter (where w.waits = 9) as ids
        into page
        from (
            select r.id, r.waits from run r
            where r.state = 2 and r.root_id between one.root_id and one.root_id and r.id > one.place
            order by r.root_id, r.id limit p_limit - looked
        ) w;
        if page.looked = p_limit - looked then
            update pause p set place = decode(page.last, 'hex') where p.run_id = one.run_id;
        else
            delete from pause p where p.run_id = one.run_id;
        end if;
        looked := looked + greatest(page.looked, 1);
        ids := ids || page.ids;
    end loop;
    if roots = '{}' and unseen <> '' then
        return json_build_array(0, true, unseen)::text;
    end if;
    if cardinality(ids) > 0 then
        select array_agg(r.id), array_agg(r.place) into ids, places
        from (
            select v.id from unnest(ids) v (id) where v.id <> all (fw_paused(ids)) order by v.id
        ) v
        cross join lateral (
            select x.id, x.ctid as place from run x where x.id = v.id and x.state = waiting and x.waits = 9
            for no key update
        ) r;
        n := cardinality(ids);
    end if;
    if n > 0 then
        select e.ready, e.told into ready, told from fw_enter(0, now_, 9, row(
            ids, array_fill(null::integer, array[n]), array_fill(0::bigint, array[n]),
            array_fill(null::text, array[n]), array_fill(0::bigint, array[n]), array_fill(false, array[n])
        )::fw_entries, places) e;
        if p_notify then
            perform fw_announce(told, ready);
        end if;
    end if;
    return json_build_array(looked, exists (
        select from pause p where p.resumed_at is not null and (p_root is null or p.root_id = p_root)
    ), null)::text;
end $$;
