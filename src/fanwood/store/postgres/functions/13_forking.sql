-- A call makes a root of a run that has ended: a fork, with what that has, and a budget if there is a part; the tree of that is not deleted meanwhile. `there`: whether
-- there is such a run; `refused`: it is being deleted; `made`: whether it was made, and there was no run of that id.
create function fw_fork(
    p_id bytea, p_of bytea, p_now bigint, p_life text, p_input text, p_at bytea, p_changed smallint, p_by text,
    p_part json,
    out there boolean, out refused boolean, out state_ smallint, out made boolean, out task_ text
) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    terminal constant smallint := 8;
    root bytea;
    program integer;
begin
    select r.root_id into root from run r where r.id = p_of;
    perform from run r where r.id in (  -- against whoever deletes the tree, or one of which that is a fork
        with recursive before (id) as (
            select f.origin_root from fork f where f.root_id = root
            union select f.origin_root from before b join fork f on f.root_id = b.id
        ) select b.id from before b
    ) order by r.id for share;
    select r.asked into program from run r where r.id = root for share;
    select r.state, r.task into state_, task_ from run r where r.id = p_of for share;
    there := state_ is not null;
    refused := exists (select from gate g where g.run_id = root and g.what = 3);
    made := false;
    if state_ is null or state_ < terminal or refused then
        return;
    end if;
    insert into run (
        id, root_id, depth, kind, task, input, metadata, priority, on_parent_end, state, attempt, asked,
        schedule_timeout, expires_at, created_at, life
    )
    select p_id, p_id, 0, r.kind, r.task, coalesce(p_input, r.input), r.metadata, r.priority, 0, 0, 0, program,
           r.schedule_timeout, p_now + r.schedule_timeout, p_now, p_life
    from run r where r.id = p_of
    on conflict do nothing;
    get diagnostics program = row_count;
    made := program > 0;
    if made then
        insert into fork (root_id, origin_id, origin_root, at_id, changed, made_at, asked_by)
        values (p_id, p_of, root, p_at, p_changed, p_now, p_by);
        if p_part is not null then
            perform fw_give(p_id, p_id, 0, null, p_part);
        end if;
    end if;
end $$;

-- Runs that were just born, and are in a fork: what they are there.
create function fw_mark(p_records text) returns void language sql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
    update run r set life = v.mark
    from json_to_recordset(p_records::json) v (id text, mark text)
    where v.mark is not null and r.id = any (array[decode(v.id, 'hex')])
$$;
