-- Second runs of what takes too long: born WAITING, with a due time; completing, one completes the first with its output,
-- in one commit. Of ends of both at once each locks its own row, and then the other's: the server finds that out, and the
-- commit that is rolled back is sent again.

-- Those of p_records that have a `hedge`, if their firsts live and have none: these are locked, so that their ends are
-- found, or find the hedge. Which were born.
create function fw_hedge(p_now bigint, p_fenced integer[], o fw_owners, k fw_kinds, p_records text) returns bytea[]
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    terminal constant smallint := 8;
    one record;
    due_ bigint;
    born bytea[] := '{}';
begin
    for one in
        select decode(x.id, 'hex') as id, x.kind as n, x.input, decode(x.hedge ->> 'target', 'hex') as target,
               (x.hedge ->> 'delay')::bigint as delay
        from json_to_recordset(p_records::json) x (kind integer, id text, input text, hedge json)
        where x.hedge is not null and k.owner[x.kind] <> all (p_fenced)
        order by 4
    loop
        perform from run r where r.id = one.target and r.state < terminal for update;
        continue when not found;
        continue when (select true from hedge h where h.target_id = one.target or h.run_id = one.id limit 1);
        due_ := p_now + one.delay;
        insert into run (
            id, parent_id, root_id, depth, kind, task, child_index, input, metadata, priority, on_parent_end, state, waits,
            due_at, attempt, asked, deadline, deadline_by, schedule_timeout, expires_at, created_at, awaits,
            budget
        )
        values (
            one.id, o.id[k.owner[one.n]], k.root[one.n], k.depth[one.n], k.kind[one.n], k.task[one.n], 0, one.input,
            k.metadata[one.n], k.priority[one.n], k.on_parent_end[one.n], 2, 2, due_, 0, o.attempt[k.owner[one.n]],
            k.deadline[one.n], k.deadline_by[one.n], k.schedule_timeout[one.n],
            least(due_ + k.schedule_timeout[one.n], k.deadline[one.n]), p_now, one.target,
            (select r.budget from run r where r.id = o.id[k.owner[one.n]])
        );
        insert into hedge (run_id, target_id) values (one.id, one.target);
        born := born || one.id;
    end loop;
    return born;
end $$;

-- After ends (of those of these that have ended): a hedge that has completed completes its first, and a first that has ended
-- ends its hedge.
create function fw_help(p_now bigint, p_ids bytea[], out told bigint[], out closes boolean, out woken text[])
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    terminal constant smallint := 8;
    completed constant smallint := 8;
    by_hand constant smallint := 6;
    one record;
    part record;
begin
    told := '{}'; closes := false; woken := '{}';
    for one in
        select h.run_id, h.target_id, r.state, r.output, r.ended_by from unnest(p_ids) v (id)
        cross join lateral (select x.run_id, x.target_id from hedge x where x.run_id = v.id offset 0) h
        cross join lateral (
            select x.state, x.output, x.ended_by from run x where x.id = v.id and x.state >= terminal offset 0
        ) r
        order by h.target_id
    loop
        delete from hedge h where h.run_id = one.run_id;
        continue when one.state <> completed;
        part := fw_help_one(
            p_now, one.target_id, completed, one.output, null, 'was overtaken: its hedge completed',
            one.ended_by = by_hand
        );
        told := told || part.told; closes := closes or part.closes; woken := woken || part.woken;
    end loop;
    for one in
        select h.run_id from unnest(p_ids) v (id)
        cross join lateral (select x.run_id from hedge x where x.target_id = v.id offset 0) h
        cross join lateral (select from run x where x.id = v.id and x.state >= terminal offset 0) r
        order by h.run_id
    loop
        delete from hedge h where h.run_id = one.run_id;
        part := fw_help_one(
            p_now, one.run_id, 10::smallint, null,
            '{"kind":"cancelled","message":"the run that it was to help has ended"}', 'was cancelled', true
        );
        told := told || part.told; closes := closes or part.closes; woken := woken || part.woken;
    end loop;
end $$;

-- The other one of two ends, if it lives. p_look: if it is closed it ends with that. (A hedge that was not closed when it
-- completed completes its first, though both were closed meanwhile.)
create function fw_help_one(
    p_now bigint, p_id bytea, p_state smallint, p_output text, p_error text, p_how text, p_look boolean,
    out told bigint[], out closes boolean, out woken text[]
) language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    terminal constant smallint := 8;
    place_ tid;
    part record;
begin
    told := '{}'; closes := false; woken := '{}';
    select r.ctid into place_ from run r where r.id = p_id and r.state < terminal for update;
    if not found then
        return;
    end if;
    if p_look then
        part := fw_cut(p_now, array[p_id], array[place_]);
        told := part.told;
        if cardinality(part.cut) > 0 then
            return;
        end if;
    end if;
    select l.told, l.closes, l.woken into part from fw_leave(0, p_now, true, row(
        array[p_id], array[null::integer], array[p_state], array[p_output], array[p_error], array[7::smallint],
        array[0::bigint], array[false], array[0::smallint],
        array[concat('{"kind":"cancelled","message":"its ancestor ', encode(p_id, 'hex')::uuid, ' ', p_how, '"}')]
    )::fw_ends) l;
    told := told || part.told; closes := part.closes; woken := part.woken;
end $$;
