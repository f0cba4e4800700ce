-- `fw_commit_steps`: a commit that is nothing but what one attempt has recorded, and that ended: one step after another, most
-- often. It is what `fw_commit` makes of such a batch, in three statements; a test holds them against each other. Wherever
-- that would have to look further (something is closed, runs were given other priorities, the attempt is over, the number
-- is not the next one, the worker is gone) it changes nothing and says false, and `fw_commit` is asked.
--
-- It locks what that locks, in its order, and leaves behind it in the worker's row what that does: so if the answer is lost
-- `fw_commit`, under the same number, finds it done. It is never sent a second time itself.
create function fw_commit_steps(
    p_me bigint, p_seq bigint, p_now bigint,
    p_owner bytea, p_attempt integer, p_root bytea, p_depth integer, p_kind smallint, p_task text, p_priority integer,
    p_on_parent_end smallint, p_metadata text,
    r_id bytea[], r_identity bytea[], r_index integer[], r_key text[], r_input text[], r_state smallint[], r_output text[],
    r_error text[], r_began bigint[]
) returns boolean language plpgsql
set search_path from current
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    running constant smallint := 1;
begin
    update worker w set seq = p_seq, has_claimed = false, fenced = '{}', refused = '{}', not_queued = '{}'
    where w.id = p_me and w.seq = p_seq - 1
    returning coalesce(p_now, fw_micros()), fw_enter_gates() into p_now;
    if not found then
        return false;
    end if;
    insert into run (
        id, parent_id, root_id, depth, kind, task, identity, child_index, child_key, input, priority, on_parent_end,
        state, attempt, asked, created_at, started_at, finished_at, ended_by, output, error, metadata
    )
    select v.id, p.id, p_root, p_depth, p_kind, p_task, v.identity, v.index, v.key, v.input, p_priority, p_on_parent_end,
           v.state, 1, p_attempt, least(v.began, p_now), least(v.began, p_now), p_now, 1, v.output, v.error, p_metadata
    from (
        select r.id from run r
        where r.id = p_owner and r.attempt = p_attempt and r.state = running
          and not exists (select from gate g where g.what = 1) and not exists (select from urgency)
        for share
    ) p
    cross join unnest(r_id, r_identity, r_index, r_key, r_input, r_state, r_output, r_error, r_began)
               v (id, identity, index, key, input, state, output, error, began);
    if not found then  -- all of them have one owner: it was all or none
        update worker w set seq = p_seq - 1 where w.id = p_me;
        return false;
    end if;
    return true;
end $$;
