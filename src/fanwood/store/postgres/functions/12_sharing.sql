-- Runs that several calls of a tree share, and the calls' links to them: in `awaits` is what is shared, and the shared run
-- inside of which the call is (zeros: of none). What must hold: a link waits only while what it shares lives, or is being
-- told of; and what is shared is one run of its tree.
--
-- Links of one tree are made one at a time (`fw_share_trees`): else two would make two runs of one, or close a circle
-- together. Who makes a link locks what is shared before he looks at its state, so that its end is found, or finds the link;
-- and so does who ends a link, before he looks whether it was the last.
--
-- All lock in one order: links, then what they share, then the rows of `shared`. Who ends what is shared has its row
-- already: he takes of the links those that nobody holds, and leaves the others to be told by and by.

-- Before anything else is locked; in order.
create function fw_share_trees(p_records text) returns void language plpgsql
as $$
#variable_conflict error
begin
    if p_records not like '%"share":{%' then  -- (what is within a text of theirs has its quotes escaped)
        return;
    end if;
    perform pg_advisory_xact_lock(v.key) from (
        select distinct ('x' || right(x.share ->> 'root', 16))::bit(64)::bigint as key
        from json_to_recordset(p_records::json) x (share json) where x.share is not null order by 1 offset 0
    ) v;
end $$;

-- The shared run that a child of this run is a part of: its ancestor that is a child of the root, if that is one.
create function fw_inside(p_parent bytea) returns bytea language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    here record;
begin
    select r.id, r.parent_id, r.depth into here from run r where r.id = p_parent;
    while here.depth > 1 loop
        select r.id, r.parent_id, r.depth into here from run r where r.id = here.parent_id;
    end loop;
    if here.depth = 1 then
        return (select s.run_id from shared s where s.run_id = here.id);
    end if;
    return null;
end $$;

-- The way by which p_target waits for p_inside, from p_target on, if there is one: backwards, from one shared run to those
-- inside of which it is waited for. '{}': too much was to be looked at.
create function fw_circle(p_inside bytea, p_target bytea) returns bytea[] language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    most constant integer := 10000;
    last constant bytea := '\xffffffffffffffffffffffffffffffffff';
    line bytea[] := array[p_inside];
    froms integer[] := array[0];
    n integer := 1;
    place bytea;
    found_ bytea;
    way bytea[];
begin
    while n <= cardinality(line) loop
        if line[n] = p_target then
            while n > 0 loop
                way := way || line[n];
                n := froms[n];
            end loop;
            return way;
        end if;
        place := line[n] || '\x00000000000000000000000000000000ff'::bytea;
        loop
            select substr(r.awaits, 17) into found_ from run r
            where r.state = 2 and r.awaits is not null and r.awaits > place and r.awaits < line[n] || last
            order by r.awaits limit 1;
            exit when not found;
            if found_ <> all (line) then
                line := line || found_;
                froms := froms || n;
            end if;
            place := line[n] || found_ || '\xff'::bytea;
        end loop;
        if cardinality(line) > most then
            return '{}';
        end if;
        n := n + 1;
    end loop;
    return null;
end $$;

-- What is said of a link that would close a circle.
create function fw_circle_error(p_way bytea[]) returns text language plpgsql
as $$
#variable_conflict error
declare
    names text[];
    said text;
begin
    names := array(
        select r.task || ' ' || encode(r.id, 'hex')::uuid::text
        from unnest(p_way) with ordinality v (id, n) join run r on r.id = any (array[v.id]) order by v.n
    );
    said := case cardinality(names)
        when 0 then 'it can''t be told whether this would wait for itself: more than 10,000 shared runs wait for each other'
        when 1 then 'this would wait for itself: it is a part of ' || names[1] || ', and asks for it. '
        else 'this would wait for itself: it is a part of ' || names[cardinality(names)] || ', and asks for '
             || array_to_string(names, ', which waits for ') || '. '
    end;
    if cardinality(names) > 0 then
        said := said || 'Leave out share= where a shared run asks for what it is a part of, or give it another input.';
    end if;
    return '{"kind":"failed","type":"ShareCircleError","message":' || to_json(said)::text || '}';
end $$;

-- Calls share runs: those of p_records that have a `share`, one after another. Whom it was written to, and of which tasks
-- there are runs to be claimed. first: links that are the first to what they share.
create function fw_share(
    p_now bigint, p_fenced integer[], o fw_owners, k fw_kinds, p_records text,
    out told bigint[], out ready text[], out closes boolean, out first bytea[]
) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    waiting constant smallint := 2;
    terminal constant smallint := 8;
    completed constant smallint := 8;
    failed constant smallint := 9;
    cancelled constant smallint := 10;
    one record;
    link record;
    root record;
    target record;
    part record;
    anew boolean;
    within_ bytea;
    way bytea[];
    said integer;
    prio integer;
    anew_ boolean;
begin
    told := '{}'; ready := '{}'; closes := false; first := '{}';
    perform from (  -- in order, against who ends links of several
        select distinct s.run_id from json_to_recordset(p_records::json) x (share json)
        cross join lateral (
            select y.run_id from shared y
            where y.root_id = decode(x.share ->> 'root', 'hex') and y.digest = decode(x.share ->> 'digest', 'hex') offset 0
        ) s
        where x.share is not null order by s.run_id
    ) v cross join lateral (select true from run r where r.id = v.run_id for update) r;
    for one in
        select decode(x.id, 'hex') as id, k.deadline[x.kind] as deadline, k.deadline_by[x.kind] as deadline_by,
               k.on_parent_end[x.kind] as policy, o.id[k.owner[x.kind]] as parent, o.attempt[k.owner[x.kind]] as attempt,
               x.share, decode(x.share ->> 'root', 'hex') as root, decode(x.share ->> 'digest', 'hex') as digest,
               decode(x.identity, 'hex') as identity, x.index, x.input, x.kind as kind_number
        from json_to_recordset(p_records::json) x (
            kind integer, id text, identity text, index integer, input text, share json
        )
        where x.share is not null and k.owner[x.kind] <> all (p_fenced)
    loop
        anew := false;
        select r.state, r.awaits, r.asked, r.on_parent_end as policy into link from run r where r.id = one.id for update;
        if not found then
            insert into run (
                id, parent_id, root_id, depth, kind, task, identity, child_index, input, priority, on_parent_end, state, waits,
                attempt, asked, deadline, deadline_by, expires_at, created_at
            )
            values (
                one.id, one.parent, one.root, k.depth[one.kind_number], 15, k.task[one.kind_number], one.identity, one.index,
                one.input, k.priority[one.kind_number], one.policy, 2, 6, 0, one.attempt, one.deadline, one.deadline_by,
                one.deadline, p_now
            );
        elsif link.state > completed
              or (link.state = waiting and fw_ends_closed(one.parent, link.asked, link.policy)) then
            anew := true;
            update run r
            set state = 2, waits = 6, trial_start = r.attempt + 1, asked = one.attempt, output = null, error = null,
                ended_by = null, finished_at = null, deadline = one.deadline, deadline_by = one.deadline_by,
                expires_at = one.deadline, awaits = null
            where r.id = one.id;
        elsif link.state = waiting then
            update run r
            set asked = one.attempt, deadline = one.deadline, deadline_by = one.deadline_by, expires_at = one.deadline,
                on_parent_end = one.policy
            where r.id = one.id;
        end if;
        continue when link.state = completed or (link.awaits is not null and not anew);
        select r.id, r.state, r.attempt into root from run r where r.id = one.root;
        if root.state in (failed, cancelled) then
            part := fw_end_links(p_now, array[one.id], cancelled, null, concat(
                '{"kind":"cancelled","message":"its ancestor ', encode(root.id, 'hex')::uuid,
                case root.state when failed then ' failed"}' else ' was cancelled"}' end
            ), 3::smallint);
            told := told || part.told;
            continue;
        end if;
        select r.id, r.state, r.task, r.place into target from shared s cross join lateral (
            select x.id, x.state, x.task, x.ctid as place from run x where x.id = s.run_id for update
        ) r
        where s.root_id = one.root and s.digest = one.digest;
        anew_ := not found;
        said := (select s.priority_ from fw_said_last(array[coalesce(target.id, one.root)]) s);  -- by hand: that counts
        prio := (one.share ->> 'priority')::integer;
        if anew_ then
            insert into run (
                id, parent_id, root_id, depth, kind, task, input, metadata, priority, on_parent_end, state, attempt, asked,
                schedule_timeout, expires_at, created_at, budget
            )
            values (
                decode(one.share ->> 'id', 'hex'), one.root, one.root, 1, (one.share ->> 'kind')::smallint,
                one.share ->> 'task', one.share ->> 'input', one.share ->> 'metadata', coalesce(said, prio), 3,
                0, 0, root.attempt, (one.share ->> 'timeout')::bigint, p_now + (one.share ->> 'timeout')::bigint, p_now,
                (select r.budget from run r where r.id = one.root)
            );
            insert into shared (root_id, digest, run_id, open)
            values (one.root, one.digest, decode(one.share ->> 'id', 'hex'), 1);
            select r.id, r.state, r.task into target from run r where r.id = decode(one.share ->> 'id', 'hex');
            ready := ready || target.task;
            first := first || one.id;
        else
            -- What an earlier attempt of the root has closed is free again.
            if exists (select from gate g where g.root_id = one.root and g.what = 1) then
                part := fw_cut_again(p_now, array[target.id], array[target.state], array[target.place]);
                told := told || part.told; closes := closes or part.closes;
                select r.id, r.state, r.task, r.ctid as place into target from run r where r.id = target.id;
            end if;
            update run r
            set asked = root.attempt,
                priority = case when r.state < terminal then coalesce(said, greatest(r.priority, prio)) else r.priority end
            where r.id = target.id  -- (once for many links: else each of them would leave a dead row)
              and (r.asked <> root.attempt
                   or (r.state < terminal and r.priority <> coalesce(said, greatest(r.priority, prio))));
            if target.state = cancelled or (anew and target.state = failed) then
                part := fw_enter(0, p_now, 8, row(
                    array[target.id], array[null::integer], array[0::bigint], array[null::text], array[0::bigint], array[false]
                )::fw_entries);
                ready := ready || part.ready;
                update run r set priority = coalesce(said, greatest(r.priority, prio))
                where r.id = target.id and r.state < terminal and r.priority <> coalesce(said, greatest(r.priority, prio));
            end if;
        end if;
        within_ := fw_inside(one.parent);
        update run r set awaits = target.id || coalesce(within_, '\x00000000000000000000000000000000'::bytea)
        where r.id = one.id;
        select r.id, r.state, r.output, r.error, r.ended_by into target from run r where r.id = target.id;
        if target.state >= terminal then
            part := fw_end_links(
                p_now, array[one.id], target.state, target.output, target.error, coalesce(target.ended_by, 1::smallint)
            );
            told := told || part.told;
        elsif within_ is not null and not anew_ then  -- (what is born waits for nobody)
            way := fw_circle(within_, target.id);
            if way is not null then
                part := fw_end_links(p_now, array[one.id], failed, null, fw_circle_error(way), 1::smallint);
                told := told || part.told; closes := closes or part.closes;
            end if;
        end if;
    end loop;
end $$;

-- These links, which the caller has locked, end.
create function fw_end_links(
    p_now bigint, p_ids bytea[], p_state smallint, p_output text, p_error text, p_by smallint,
    out told bigint[], out closes boolean, out woken text[]
) language plpgsql
as $$
#variable_conflict error
declare
    n integer := cardinality(p_ids);
begin
    select l.told, l.closes, l.woken into told, closes, woken from fw_leave(0, p_now, true, row(
        p_ids, array_fill(null::integer, array[n]), array_fill(p_state, array[n]), array_fill(p_output, array[n]),
        array_fill(p_error, array[n]), array_fill(p_by, array[n]), array_fill(0::bigint, array[n]),
        array_fill(false, array[n]), array_fill(null::smallint, array[n]), array_fill(null::text, array[n])
    )::fw_ends) l;
end $$;

-- What is shared has ended: a page of its links is told. (If it lives again meanwhile, they wait for that.)
create function fw_tell_links(p_now bigint, p_target bytea, out told bigint[], out woken text[]) language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    terminal constant smallint := 8;
    last constant bytea := '\xffffffffffffffffffffffffffffffffff';
    target record;
    part record;
    ids bytea[];
    places tid[];
begin
    told := '{}'; woken := '{}';
    select r.state, r.output, r.error, r.ended_by into target from run r where r.id = p_target;
    if target.state >= terminal then
        select array_agg(l.id), array_agg(l.place) into ids, places from (
            select r.id, r.ctid as place from run r
            where r.state = 2 and r.awaits is not null and r.awaits > p_target and r.awaits < p_target || last
            order by r.awaits
            limit greatest(1, least(500, 16000000 / greatest(1, coalesce(octet_length(target.output), 1))))
            for update skip locked
        ) l;
        if cardinality(ids) > 0 then
            part := fw_cut(p_now, ids, places);
            told := part.told;
            ids := array(select v.id from unnest(ids) v (id) where v.id <> all (part.closed));
        end if;
        if cardinality(ids) > 0 then
            part := fw_end_links(
                p_now, ids, target.state, target.output, target.error, coalesce(target.ended_by, 1::smallint)
            );
            told := told || part.told; woken := part.woken;
        end if;
    end if;
    update shared s
    set open = case
        when target.state < terminal then 1
        when (select true from run r
              where r.state = 2 and r.awaits is not null and r.awaits > p_target and r.awaits < p_target || last
              limit 1) then 2
        else 0
    end
    where s.run_id = p_target;
end $$;

-- After ends (of those of these that have ended): links end with what they share, and what has lost its last link does.
create function fw_unlink(
    p_now bigint, p_ids bytea[], out told bigint[], out closes boolean, out woken text[]
) language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    terminal constant smallint := 8;
    last constant bytea := '\xffffffffffffffffffffffffffffffffff';
    one bytea;
    place_ tid;
    part record;
begin
    told := '{}'; closes := false; woken := '{}';
    for one in
        select s.run_id from unnest(p_ids) v (id)
        cross join lateral (select x.run_id from shared x where x.run_id = v.id and x.open > 0 offset 0) s
        cross join lateral (select from run x where x.id = v.id and x.state >= terminal offset 0) r
        order by s.run_id
    loop
        select t.told, t.woken into part from fw_tell_links(p_now, one) t;
        told := told || part.told; woken := woken || part.woken;
        closes := closes or exists (select from shared s where s.run_id = one and s.open = 2);  -- the rest, by timers
    end loop;
    for one in
        select distinct substr(r.awaits, 1, 16) from unnest(p_ids) v (id)
        cross join lateral (
            select x.awaits from run x
            where x.id = v.id and x.kind = 15 and x.state >= terminal and x.awaits is not null offset 0
        ) r
        order by 1
    loop
        select r.ctid into place_ from run r where r.id = one and r.state < terminal for update;
        continue when not found;
        continue when (
            select true from run r
            where r.state = 2 and r.awaits is not null and r.awaits > one and r.awaits < one || last limit 1
        );
        part := fw_cut(p_now, array[one], array[place_]);
        told := told || part.told;
        continue when cardinality(part.cut) > 0;
        select l.told, l.closes, l.woken into part from fw_leave(0, p_now, true, row(
            array[one], array[null::integer], array[10::smallint], array[null::text],
            array['{"kind":"cancelled","message":"nobody waits for it any more: all calls that shared it have ended"}'],
            array[3::smallint], array[0::bigint], array[false], array[0::smallint],
            array[concat('{"kind":"cancelled","message":"its ancestor ', encode(one, 'hex')::uuid,
                         ' was cancelled: nobody waits for it any more"}')]
        )::fw_ends) l;
        told := told || part.told; closes := closes or part.closes; woken := woken || part.woken;
    end loop;
end $$;
