-- A call gives a run an output. `before`: in which state it was; null: there is no such run. `refused`: it has completed, and
-- its parent has not ended.
create function fw_patch(
    p_id bytea, p_now bigint, p_output text, p_by text, p_closing text,
    out before smallint, out refused boolean, out closes boolean, out told bigint[]
) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    terminal constant smallint := 8;
    here record;
    above smallint;
begin
    told := '{}'; closes := false; refused := false;
    perform fw_tell_workers();
    select r.root_id, r.parent_id into here from run r where r.id = p_id;
    perform from run r where r.id = here.root_id and r.id <> p_id for key share;  -- against whoever deletes the tree
    select p.state into above from run p where p.id = here.parent_id for share;  -- it does not end meanwhile
    select r.state, r.attempt, coalesce(r.output, r.error) as said into here from run r where r.id = p_id for update;
    if not found then
        return;
    end if;
    before := here.state;
    if before = 8 and above < terminal then
        refused := true;
        return;
    end if;
    perform fw_note(p_id, here.attempt, p_now,
        format('patched by %s; it was %s', p_by, case before
            when 0 then 'QUEUED' when 1 then 'RUNNING' when 2 then 'WAITING' when 8 then 'COMPLETED'
            when 9 then 'FAILED' else 'CANCELLED' end)
        || case when here.said <> '' then ', with ' || left(here.said, 1000) else '' end);
    if before >= terminal then
        update run r set state = 8, output = p_output, error = null, ended_by = 6 where r.id = p_id;
        return;
    end if;
    select l.told, l.closes into told, closes from fw_leave(0, p_now, true, row(
        array[p_id], array[null::integer], array[8::smallint], array[p_output], array[null::text],
        array[6::smallint], array[0::bigint], array[false], array[case when here.attempt > 0 then 0 end::smallint],
        array[p_closing]
    )::fw_ends) l;
    if closes or before = 1 then  -- it may be claimed itself, and not begun
        told := told || fw_unheard(p_id, p_now);
    end if;
end $$;
