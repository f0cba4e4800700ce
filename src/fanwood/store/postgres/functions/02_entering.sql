-- The one way in: every run that goes (back) to the queue does so by `fw_enter`. (How ids are looked up: 02_leaving.sql.)

-- What is known of the attempts after which these runs are retried, taken from a lost worker, or replayed (p_cause; none of
-- those that are closed). Of each run the last 100 are kept.
create function fw_keep_attempts(p_now bigint, p_cause integer, q fw_entries, p_closed bytea[]) returns void
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    running constant smallint := 1;
    terminal constant smallint := 8;
    last integer;
begin
    with kept as (
        insert into attempt (run_id, number, worker_id, worker, state, started_at, finished_at, due_at, error)
        select r.id, r.attempt, r.worker_id, (select w.name from worker w where w.id = r.worker_id),
               case when r.state >= terminal then r.state else 9 end, r.started_at, coalesce(r.finished_at, p_now),
               p_now + v.delay,
               case p_cause when 3 then v.error when 8 then r.error end
        from unnest(q.id, q.attempt, q.delay, q.error) v (id, attempt, delay, error)
        cross join lateral (
            select x.* from run x
            where x.id = v.id and x.attempt > 0 and (p_cause <> 8 or v.id <> all (p_closed))
              and case when p_cause = 8 then x.state >= terminal
                       else x.state = running and (v.attempt is null or x.attempt = v.attempt) end
            for update
        ) r
        on conflict (run_id, number) do update set due_at = excluded.due_at  -- it never began, and is replayed
        returning number
    )
    select max(k.number) into last from kept k;
    if last > 100 then
        delete from attempt t
        using unnest(q.id) v (id) cross join lateral (select x.attempt from run x where x.id = v.id offset 0) r
        where t.run_id = any (array[v.id]) and t.number <= r.attempt - 100;
    end if;
end $$;

-- Runs go to the queue, or wait until they are due. p_cause (model/states.py): 3 a retry, 4 their worker was lost, 5 they
-- are handed back, 8 a replay, 9 they are due. What is closed ends instead (but for a replay: that ended before, and is
-- refused). The numbers of those refused, and of those that ended instead; whom it was written to; whose tasks have a
-- run that is ready. p_places: where they stand, of runs that are due, and that the caller has locked.
create function fw_enter(
    p_me bigint, p_now bigint, p_cause integer, q fw_entries, p_places tid[] default null,
    out refused integer[], out cut integer[], out told bigint[], out ready text[]
) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    longest constant bigint := 4000000000000000000;  -- what somebody wrote by hand may be any number
    running constant smallint := 1;
    waiting constant smallint := 2;
    terminal constant smallint := 8;
    closed bytea[];
    numbers integer[];
    reasons text[];
    entered integer[];
begin
    refused := '{}'; cut := '{}'; told := '{}';
    select c.ids, c.reasons, c.numbers into closed, reasons, numbers from fw_closed(q.id) c;
    if cardinality(closed) > 0 and p_cause <> 8 then
        select l.refused, l.told into refused, told from fw_leave(p_me, p_now, p_cause not in (3, 5), (
            select row(
                array_agg(c.id), array_agg(q.attempt[c.n]), array_agg(10::smallint), array_agg(null::text),
                array_agg(c.reason), array_agg(3::smallint), array_agg(q.busy[c.n]), array_agg(true),
                array_agg(null::smallint), array_agg(null::text)
            )::fw_ends
            from unnest(closed, numbers, reasons) c (id, n, reason)
        )) l;
        refused := array(select numbers[v.n] from unnest(refused) v (n));  -- theirs were among the closed
        cut := array(select v.n from unnest(numbers) v (n) where v.n <> all (refused));
    end if;
    if p_cause in (3, 4, 8) then
        perform fw_keep_attempts(p_now, p_cause, q, closed);
    end if;
    if p_places is null or cardinality(cut) > 0 then
        with done as (
            update run r
            set state = case when v.delay > 0 then waiting else 0 end,
                waits = case when v.delay > 0 then 2 end,
                due_at = case when v.delay > 0 then p_now + v.delay end,
                worker_id = null,
                retry_count = case p_cause when 8 then 0 else r.retry_count + (p_cause = 3)::integer end,
                trial_start = case when p_cause in (3, 8) then r.attempt + 1 else r.trial_start end,
                deaths = case
                    when p_cause = 4 then least(r.deaths, 1000000) + v.charged::integer
                    when p_cause = 9 or (p_cause = 5 and v.busy = 0) then r.deaths
                    else 0
                end,
                output = null,
                error = case p_cause when 8 then null else coalesce(v.error, r.error) end,
                busy = r.busy + v.busy,
                finished_at = null,
                ended_by = null,
                deadline = case p_cause when 8 then null else r.deadline end,
                deadline_by = case p_cause when 8 then null else r.deadline_by end,
                expires_at = case p_cause
                    when 9 then r.expires_at
                    when 8 then p_now + case when r.schedule_timeout < longest then r.schedule_timeout end
                    else least(r.deadline, p_now + v.delay + case when r.schedule_timeout < longest then r.schedule_timeout end)
                end,
                limit_at = case  -- of an attempt that is over: it is forgotten, unless a child lives (or there are many)
                    when r.limit_at is not null
                        and (p_cause = 9 or not fw_have_ended(r.id, r.root_id, false))
                    then r.limit_at
                end
            from unnest(q.id, q.attempt, q.delay, q.error, q.busy, q.charged) with ordinality
                 v (id, attempt, delay, error, busy, charged, n)
            where r.id = any (array[v.id]) and (p_cause <> 8 or v.id <> all (closed))  -- (all others have ended)
              and case p_cause
                      when 8 then r.state >= terminal
                      when 9 then r.state = waiting
                      else r.state = running and (v.attempt is null or r.attempt = v.attempt)
                  end
            returning v.n::integer, r.task, v.delay
        )
        select coalesce(array_agg(d.n), '{}'), array_agg(distinct d.task) filter (where d.delay = 0) into entered, ready
        from done d;
    else
        with done as (
            update run r set state = 0, waits = null, due_at = null
            from unnest(p_places) with ordinality v (place, n)
            where r.ctid = v.place
            returning v.n::integer, r.task
        )
        select coalesce(array_agg(d.n), '{}'), array_agg(distinct d.task) into entered, ready from done d;
    end if;
    ready := coalesce(ready, '{}');
    if p_cause in (4, 8) and exists (select from budget) then
        if p_cause = 8 then
            perform fw_take_anew(q.id);
        else
            perform fw_even_out(q.id);
        end if;
    end if;
    if p_cause = 8 and exists (select from shared) then
        update shared s set open = 1 from unnest(q.id) v (id) where s.run_id = any (array[v.id]) and v.id <> all (closed);
    end if;
    if p_cause = 9 and exists (select from suspended) then
        delete from awaited a where a.waiter_id = any (q.id);
    end if;
    if cardinality(entered) + cardinality(cut) < cardinality(q.id) then
        refused := array(
            select generate_series(1, cardinality(q.id)) except select v.n from unnest(entered || cut) v (n)
        );
    end if;
end $$;
