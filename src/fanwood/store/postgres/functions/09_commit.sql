-- `fw_commit`: everything that one engine wants, in one transaction and one round trip.
--
-- Exactly once. Before anything else a commit locks its worker's row, where the number of the worker's last commit
-- stands beside what was refused in it. A commit whose answer was lost is sent again under its own number (`p_again`):
-- if the first is still under way, the second waits for it; if it came through, the second does nothing and gives the
-- same answer; if it never did, the second is done, and the first, should it arrive at last, is not: its number is
-- taken. The lock also keeps whoever would reap this worker waiting until the commit is through (he locks the worker's
-- row first and its lease then). The lease itself is not locked: it is renewed while a commit is under way.
--
-- Every two transactions lock in one order: worker, parents that spawn (by id), then what they change (by id), then
-- gates, and keys. Where two can still meet crosswise, the server finds out, one is rolled back whole, and its client
-- sends it again.

-- The answer, as JSON: [whether the number was used, whether the worker is registered, numbers of fenced owners, found
-- attaches, taken keys, numbers of refused ends, numbers of refused requeues, those of them that were closed, claimed
-- runs, watched runs, letters, closings, whether there is more, whether there is something to sweep, the server's time, numbers of
-- suspends that go on, sizes of large trees, numbers of spawns that were sent
-- as claimed, and were not so born]. A batch
-- that only looks, and finds nothing, writes nothing and gets [false], or that there is something to sweep, and no more; but if it was sent before, its number is taken
-- all the same: else what it may have claimed would be nobody's, or be claimed yet, by a statement that is still under
-- way. A number that was taken by something else gets [null, the last number], and nothing is done.
create function fw_commit(
    p_me bigint, p_seq bigint, p_now bigint, p_again boolean, p_notify boolean, p_looks boolean,
    l_run bytea[], l_attempt integer[], l_at bigint[], l_level text[], l_message text[],
    o_id bytea[], o_attempt integer[],
    k_owner integer[], k_root bytea[], k_depth integer[], k_task text[], k_priority integer[], k_metadata text[],
    k_schedule_timeout bigint[], k_deadline bigint[], k_deadline_by bytea[], k_on_parent_end smallint[],
    k_kind smallint[], k_namespace text[],
    s_kind integer[], s_id bytea[], s_identity bytea[], s_index integer[], s_key text[], s_digest bytea[],
    s_input text[], s_claimed boolean[],
    a_kind integer[], a_id bytea[], a_digest bytea[], r_records text,
    d_owner integer[], d_deadline bigint[],
    e_id bytea[], e_attempt integer[], e_state smallint[], e_output text[], e_error text[], e_ended_by smallint[],
    e_busy bigint[], e_local boolean[], e_which smallint[], e_closing text[],
    q_id bytea[], q_attempt integer[], q_delay bigint[], q_error text[], q_busy bigint[], q_retry boolean[],
    q_renewals text, x_suspends text, u_id bytea[], w_id bytea[],
    c_tasks text[], c_limit integer, c_fair integer, c_idle boolean, c_turns text,
    m_look boolean, m_read bigint[], m_heard bytea[], b_budgets text
) returns text language plpgsql
set search_path from current set jit = off
as $$
#variable_conflict error
<<batch>>
declare
    o fw_owners;
    k fw_kinds;
    s fw_spawns;
    a fw_attaches;
    before record;
    part record;
    at bigint;
    registered boolean;
    gated boolean;
    paused boolean;
    held bytea[];
    urged boolean;
    kinds integer[];  -- of children, which have other priorities than they were sent with
    unclaimed integer[];
    budgeted boolean;
    above bytea[];  -- the budgets that owners use
    fenced integer[] := '{}';
    -- From here on null is none, as most batches have little: to set a variable takes as long as to read a row.
    unheard boolean;
    keyed boolean;
    more boolean;
    closes boolean;
    moves boolean;
    refused integer[];
    not_queued integer[];
    told bigint[];
    ready text[];
    overruled text;
    claimed text;
    found_ text;
    taken text;
    watched text;
    letters text;
    closings text;
    going_on integer[];
    sizes text;
    links bytea[];  -- the first to what they share
    hedges bytea[];
begin
    if p_looks and not p_again and not (m_look and fw_has_mail(p_me, m_read)) then
        more := c_limit > 0 and fw_has_ready(p_me, c_tasks);
        if more is distinct from true then
            return case when more is null then '[false,true,[],[],[],[],[],[],[],[],[],[],false,true]' else '[false]' end;
        end if;
        more := null;
    end if;
    p_now := coalesce(p_now, fw_micros());
    if r_records is not null then
        perform fw_share_keys(r_records), fw_share_trees(r_records);
    end if;
    select w.seq, w.claimed_at, w.has_claimed, w.fenced, w.refused, w.not_queued, w.programs, fw_enter_gates() into before
    from worker w where w.id = p_me for no key update;
    if not found then
        perform fw_enter_gates();
    end if;
    if m_look then  -- before gates are looked for: what is heard of has been seen
        unheard := exists (select from unheard u where u.worker_id = p_me);
    end if;
    select before.seq is not null and exists (select from lease l where l.worker_id = p_me),
           exists (select from gate g where g.what = 1), exists (select from pause p where p.resumed_at is null),
           exists (select from budget), exists (select from urgency)
    into registered, gated, paused, budgeted, urged;
    at := greatest(p_now, coalesce(before.claimed_at, 0) + 1);
    if cardinality(k_owner) > 0 or cardinality(o_id) > 0 then
        o := row(o_id, o_attempt);
        k := row(k_owner, k_root, k_depth, k_task, k_priority, k_metadata, k_schedule_timeout, k_deadline, k_deadline_by,
                 k_on_parent_end, k_kind, k_namespace);
        s := row(s_kind, s_id, s_identity, s_index, s_key, s_digest, s_input, s_claimed);
        a := row(a_kind, a_id, a_digest);
        if 0 >= any (k_owner) and cardinality(s_id) > 0 then
            keyed := exists (select from unnest(s_kind, s_identity) x (kind, identity)
                             where x.identity is not null and k_owner[x.kind] <= 0);
        end if;
    end if;
    if before.seq > p_seq or (before.seq = p_seq and not p_again) then
        return concat('[null,', before.seq, ']');
    end if;
    if unheard then
        closings := fw_closings(p_me);
    end if;
    if before.seq = p_seq then  -- its answer was lost
        if cardinality(a_id) > 0 then
            found_ := fw_attached(before.fenced, k, a);
        end if;
        if keyed then
            taken := fw_spawn_keyed(p_now, k, s);
        end if;
        if before.has_claimed then  -- who was born claimed knows it, unless it is asked for no longer
            claimed := fw_claimed_before(p_me, before.claimed_at, array(
                select x.id from unnest(s_id, s_claimed) x (id, born_claimed) where x.born_claimed
            ));
        end if;
        if cardinality(w_id) > 0 then
            select r.watched into watched from fw_watch(p_me, w_id) r;
        end if;
        if cardinality(before.refused) + cardinality(before.not_queued) > 0 then
            overruled := fw_overruled(e_id || q_id, e_attempt || q_attempt);
        end if;
        select m.letters, m.has_more into letters, more from fw_read_mail(p_me, m_read) m;
        if x_suspends is not null then
            going_on := fw_going_on(x_suspends);
        end if;
        return concat_ws(',', '[true,true', to_json(before.fenced), coalesce(found_, '[]'), coalesce(taken, '[]'),
                         to_json(before.refused), to_json(before.not_queued), coalesce(overruled, '[]'),
                         coalesce(claimed, '[]'), coalesce(watched, '[]'), coalesce(letters, '[]'),
                         coalesce(closings, '[]'), to_json(more or c_limit > 0), to_json(gated), fw_micros(),
                         coalesce(to_json(going_on)::text, '[]'), '[]',
                         to_json(fw_unclaimed(s_id, s_claimed))::text || ']');
    end if;

    if cardinality(l_run) > 0 then
        perform fw_write_log(row(l_run, l_attempt, l_at, l_level, l_message));
    end if;
    if cardinality(k_owner) > 0 or cardinality(o_id) > 0 then
        if cardinality(o_id) > 0 then
            fenced := fw_fence(o, gated);
            closes := gated and cardinality(fenced) > 0;
        end if;
        if urged and cardinality(o_id) > 0 then
            select f.priorities, f.kinds into k_priority, kinds from fw_urge(o_id, k_owner, k_priority) f;
            k.priority := k_priority;
        end if;
        if cardinality(s_id) > 0 then
            if budgeted then
                above := array(
                    select (select r.budget from run r where r.id = v.id) from unnest(o_id) with ordinality v (id, n)
                    order by v.n
                );
            end if;
            if not registered then
                s_claimed := array_fill(false, array[cardinality(s_id)]);  -- born claimed they would be nobody's
                s.claimed := s_claimed;
            end if;
            if paused and cardinality(o_id) > 0 then
                held := fw_paused(o_id);
            end if;
            if cardinality(held) > 0 or cardinality(kinds) > 0 then  -- what is born below these waits, or is queued
                unclaimed := array(
                    select v.n::integer from unnest(s_kind, s_claimed) with ordinality v (kind, claimed, n)
                    where v.claimed and (o_id[k_owner[v.kind]] = any (held) or v.kind = any (kinds))
                );
                s_claimed := array(
                    select v.claimed and v.n <> all (unclaimed)
                    from unnest(s_claimed) with ordinality v (claimed, n) order by v.n
                );
                s.claimed := s_claimed;
            end if;
            -- (An expression: `perform` would be a query.)
            if fw_spawn(p_me, p_now, at, p_again, fenced, o, k, s, above) then
                ready := k_task;
            end if;
            if cardinality(held) > 0 then
                perform fw_wait(array(
                    select v.id from unnest(s_kind, s_id) v (kind, id) where o_id[k_owner[v.kind]] = any (held)
                ));
            end if;
        end if;
        if cardinality(a_id) > 0 then
            part := fw_attach(p_now, fenced, gated, o, k, a);
            told := told || part.told; closes := coalesce(closes, false) or part.closes;
            found_ := fw_attached(fenced, k, a);
            ready := ready || k_task;
        end if;
        if r_records is not null then
            perform fw_record(p_now, p_again, fenced, o, k, r_records);
            if r_records like '%"mark":"%' then
                perform fw_mark(r_records);
            end if;
            if r_records like '%"hedge":{%' then
                hedges := fw_hedge(p_now, fenced, o, k, r_records);
            end if;
            if r_records like '%"share":{%' then
                part := fw_share(p_now, fenced, o, k, r_records);
                told := told || part.told; ready := ready || part.ready; more := true;
                closes := coalesce(closes, false) or part.closes; links := part.first;
            end if;
        end if;
    end if;
    if cardinality(e_id) > 0 and cardinality(q_id) = 0 and not gated then  -- as `fw_report` would, and that is all
        part := fw_leave(
            p_me, p_now, false,
            row(e_id, e_attempt, e_state, e_output, e_error, e_ended_by, e_busy, e_local, e_which, e_closing)
        );
        refused := part.refused; told := told || part.told; closes := coalesce(closes, false) or part.closes;
        more := coalesce(more, false) or cardinality(part.woken) > 0;
    elsif cardinality(e_id) + cardinality(q_id) > 0 then
        part := fw_report(
            p_me, p_now, gated,
            row(e_id, e_attempt, e_state, e_output, e_error, e_ended_by, e_busy, e_local, e_which, e_closing),
            row(q_id, q_attempt, q_delay, q_error, q_busy, q_retry)
        );
        refused := part.refused; not_queued := part.not_queued; closes := coalesce(closes, false) or part.closes;
        told := told || part.told; ready := ready || part.ready; more := coalesce(more, false) or part.woken;
    end if;
    if q_renewals is not null then
        closes := fw_start_over(p_now, q_renewals, not_queued) or coalesce(closes, false);
    end if;
    if cardinality(refused) > 0 or cardinality(not_queued) > 0 then
        overruled := fw_overruled(e_id || q_id, e_attempt || q_attempt);
    end if;
    if x_suspends is not null then
        perform fw_suspend(x_suspends);
        going_on := fw_going_on(x_suspends);
    end if;
    if keyed then
        taken := fw_spawn_keyed(p_now, k, s);
    end if;
    if c_limit > 0 or cardinality(w_id) + cardinality(d_owner) + cardinality(u_id) + cardinality(m_read)
       + cardinality(m_heard) > 0
    then
        if cardinality(w_id) > 0 then
            select r.watched, batch.ready || r.queued into watched, ready from fw_watch(p_me, w_id) r;
        end if;
        if c_limit > 0 and registered then  -- who was taken for dead gets none: nobody would look at them again
            part := fw_claim(p_me, p_now, at, gated or coalesce(closes, false), paused, c_tasks, c_limit, c_fair, c_idle,
                             c_turns, before.programs);
            claimed := part.claimed; more := coalesce(more, false) or part.has_more; told := told || part.told;
            closes := coalesce(closes, false) or part.cut;
        end if;
        if cardinality(d_owner) > 0 then  -- after all that may wait for runs: a tree's row comes last
            moves := fw_move_limits(p_now, fenced, o, d_owner, d_deadline);
        end if;
        if cardinality(u_id) > 0 then
            perform fw_unwatch(p_me, u_id);
        end if;
        if cardinality(m_read) > 0 then
            perform fw_take_away(p_me, m_read);
        end if;
        if cardinality(m_heard) > 0 then
            delete from unheard u where u.worker_id = p_me and u.run_id = any (m_heard);
            closings := case when m_look then fw_closings(p_me) else '[]' end;
        end if;
    end if;
    if m_look or p_me = any (told) then
        select m.letters, coalesce(batch.more, false) or m.has_more into letters, more from fw_read_mail(p_me, m_read) m;
    end if;
    if budgeted or b_budgets is not null then  -- rows that many share, last
        if budgeted then
            perform fw_lock_limits(
                above || array(
                    select p.budget from unnest(links || hedges) v (id)
                    cross join lateral (select x.parent_id, x.root_id from run x where x.id = v.id offset 0) r
                    cross join lateral (
                        select x.budget from run x where x.id = any (array[r.parent_id, r.root_id]) offset 0
                    ) p
                ),
                array['~runs', '~seconds'] || array(
                    select distinct u.unit from json_each(b_budgets::json -> 'parts') p (n, part)
                    cross join json_object_keys(p.part) u (unit) where u.unit not in ('~runs', '~seconds')
                ),
                e_id || q_id
            );
        end if;
        if cardinality(s_id) > 0 then
            perform fw_charge(fenced, o, k, s, above, b_budgets::json -> 'parts');
        end if;
        if budgeted and cardinality(links || hedges) > 0 then
            perform fw_charge_others(links, hedges);
        end if;
        if budgeted and (cardinality(e_id) + cardinality(q_id) > 0 or x_suspends is not null) then
            perform fw_even_out(e_id || q_id || array(
                select decode(v.j ->> 0, 'hex') from json_array_elements(x_suspends::json) v (j)
            ));
        end if;
        if b_budgets is not null then
            sizes := fw_take_blocks(b_budgets);
        end if;
    end if;
    if before.seq is not null then
        update worker w
        set seq = p_seq, has_claimed = coalesce(claimed <> '[]', false) or true = any (s_claimed),
            claimed_at = case when claimed <> '[]' or true = any (s_claimed) then at else w.claimed_at end,
            fenced = batch.fenced, refused = coalesce(batch.refused, '{}'),
            not_queued = coalesce(batch.not_queued, '{}')
        where w.id = p_me;
    end if;
    if p_notify and (cardinality(told) > 0 or cardinality(ready) > 0) then
        perform fw_announce(array_remove(told, p_me), ready);
    end if;
    return concat_ws(
        ',', '[true', to_json(registered), to_json(fenced), coalesce(found_, '[]'), coalesce(taken, '[]'),
        coalesce(to_json(refused)::text, '[]'), coalesce(to_json(not_queued)::text, '[]'), coalesce(overruled, '[]'),
        coalesce(claimed, '[]'), coalesce(watched, '[]'), coalesce(letters, '[]'), coalesce(closings, '[]'),
        case when more then 'true' else 'false' end, case when closes or moves then 'true' else 'false' end,
        fw_micros(), coalesce(to_json(going_on)::text, '[]'), coalesce(sizes, '[]'),
        coalesce(to_json(unclaimed)::text, '[]') || ']'
    );
end $$;
