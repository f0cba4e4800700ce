-- The one way out, and the one way in. Every run that ends does so by `fw_leave`, whatever the cause; every run that
-- goes (back) to the queue by `fw_enter`. Both ask, or were asked before, the same question: is it closed?
--
-- Here and everywhere: what a list of ids is joined with is found by `id = any (array[v.id])`. By `id = v.id` the server may
-- just as well read the whole index, and look for each run in the list; which it does for the rest of a session whose plan
-- was made when a vacuum had found the table empty.

-- Of what can't be read: see UNREADABLE in store/failures.py.
create function fw_unreadable_error() returns text language sql immutable
as $$
    select '{"kind":"failed","type":"StoreError","message":"its row in the database could not be read: a column holds something'
        || ' that it should not"}'
$$;

-- Something of these runs could not be read: which of them that is, as it is damaged. Beside p_known; if there is no other,
-- it was due to something else, and raises as it did.
create function fw_damaged(p_ids bytea[], p_known bytea[], p_error text) returns bytea[] language plpgsql
as $$
#variable_conflict error
declare
    here bytea;
    found_ bytea[] := p_known;
begin
    foreach here in array p_ids loop
        begin
            perform length(concat(r.state, r.output, r.error, r.input)) from run r
            where r.id = here and here <> all (p_known);
        exception when data_corrupted or index_corrupted then
            found_ := found_ || here;
        end;
    end loop;
    if cardinality(found_) = cardinality(p_known) then
        raise exception '%', p_error using errcode = 'data_corrupted';
    end if;
    return found_;
end $$;

-- Whether a gate covers a child that was asked for by the attempt `asked` of its parent. If that completed: of the children
-- that end with it, and of those that it never asked for again, only what lived then, or was ended by the gate as that was
-- made. (`ended`: when the child did, and `ended_by` what.)
create function fw_covers(g gate, asked integer, policy smallint, ended bigint, ended_by smallint) returns boolean
language sql immutable
as $$
    select case
        when g.which = 0 then asked <= g.attempt
        else policy <> 3 and (asked < g.attempt or (policy = 1 and asked = g.attempt))
             and (ended is null or ended > g.made_at or (ended = g.made_at and ended_by = 3))
    end
$$;

-- Which of these runs are closed, and why: below a run that has a gate, directly or not; `numbers` are theirs, from 1. Only
-- in trees in which there is a gate: in the common case there is none, and one look. Of all ancestors each is looked at
-- once, upward; whether it is shut itself is found from the top down; and each run has its parent's answer. (Whatever is
-- read of a table is `lateral`; all else is hashed, however few the planner expects.) p_places: where they stand, if the
-- caller has locked them.
create function fw_closed(
    p_ids bytea[], p_places tid[] default null, out ids bytea[], out reasons text[], out numbers integer[]
) language plpgsql
set enable_seqscan = off set enable_nestloop = off set enable_mergejoin = off set enable_hashjoin = on
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
begin
    ids := '{}'; reasons := '{}'; numbers := '{}';
    if cardinality(p_ids) = 0 or not exists (select from gate g where g.what = 1) then
        return;
    end if;
    with recursive
    asked_for as materialized (
        select r.id, r.parent_id, r.root_id, r.asked, r.on_parent_end, r.finished_at, r.ended_by, v.n
        from unnest(case when p_places is null then p_ids end) with ordinality v (id, n)
        cross join lateral (
            select c.id, c.parent_id, c.root_id, c.asked, c.on_parent_end, c.finished_at, c.ended_by
            from run c where c.id = v.id and c.parent_id is not null and c.on_parent_end <> 2 offset 0
        ) r
        union all
        select r.id, r.parent_id, r.root_id, r.asked, r.on_parent_end, r.finished_at, r.ended_by, v.n
        from unnest(p_places) with ordinality v (place, n)
        cross join lateral (
            select c.id, c.parent_id, c.root_id, c.asked, c.on_parent_end, c.finished_at, c.ended_by
            from run c where c.ctid = v.place and c.parent_id is not null and c.on_parent_end <> 2 offset 0
        ) r
    ),
    mine as materialized (
        select a.*
        from (select distinct d.root_id from asked_for d) t
        cross join lateral (select true from gate g where g.root_id = t.root_id and g.what = 1 limit 1) g
        join asked_for a on a.root_id = t.root_id
    ),
    parents as materialized (select distinct m.parent_id as id from mine m),
    above (id, parent_id, reason) as (
        select x.id, x.parent_id, x.reason
        from parents d
        cross join lateral (
            select c.id, c.parent_id, (
                       select g.error from gate g
                       where g.run_id = c.parent_id and g.what = 1
                         and fw_covers(g, c.asked, c.on_parent_end, c.finished_at, c.ended_by)
                   ) as reason
            from run c where c.id = d.id and c.parent_id is not null and c.on_parent_end <> 2 offset 0
        ) x
        union
        select x.id, x.parent_id, x.reason
        from above a
        cross join lateral (
            select c.id, c.parent_id, (
                       select g.error from gate g
                       where g.run_id = c.parent_id and g.what = 1
                         and fw_covers(g, c.asked, c.on_parent_end, c.finished_at, c.ended_by)
                   ) as reason
            from run c where c.id = a.parent_id and c.parent_id is not null and c.on_parent_end <> 2 offset 0
        ) x
        where a.reason is null
    ),
    shut (id, reason) as (
        select a.id, a.reason from above a where a.reason is not null
        union all
        select a.id, s.reason from shut s join above a on a.parent_id = s.id where a.reason is null
    ),
    gates as materialized (
        select g.id, g.itself
        from parents d
        cross join lateral (
            select x.run_id as id, x as itself from gate x where x.run_id = d.id and x.what = 1 offset 0
        ) g
    )
    select coalesce(array_agg(c.id), '{}'), coalesce(array_agg(c.reason), '{}'), coalesce(array_agg(c.n), '{}')
    into ids, reasons, numbers
    from (
        select m.id, m.n::integer, coalesce((g.itself).error, s.reason) as reason
        from mine m
        left join gates g on g.id = m.parent_id and fw_covers(g.itself, m.asked, m.on_parent_end, m.finished_at, m.ended_by)
        left join shut s on s.id = m.parent_id
    ) c
    where c.reason is not null;
end $$;

-- Write to all who wait for these ended runs, but for p_me: the worker of the parent (of p_parents, if these are known),
-- and whoever watches; and, of runs that ended under their worker (p_under), to that. To whom it was.
create function fw_tell(p_me bigint, p_ids bytea[], p_under bytea[], p_parents bytea[]) returns bigint[]
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    running constant smallint := 1;
    told bigint[];
begin
    with watched as (
        delete from watch t using unnest(p_ids) v (id) where t.run_id = any (array[v.id])
        returning t.worker_id, t.run_id
    ),
    concerned as (
        select p.worker_id, r.id as run_id
        from unnest(p_ids) v (id) join run r on r.id = any (array[v.id])
        join run p on p.id = any (array[r.parent_id])
        where p.state = running and (p_parents is null or cardinality(p_parents) > 0)
        union
        select t.worker_id, t.run_id from watched t
        union
        select r.worker_id, r.id from unnest(p_under) v (id) join run r on r.id = any (array[v.id])
    ),
    mailed as (
        insert into mail (worker_id, run_ids, size)
        select l.worker_id, array_agg(c.run_id),
               sum(coalesce(octet_length(r.output), 0) + coalesce(octet_length(r.error), 0))
        from concerned c join lease l on l.worker_id = c.worker_id join run r on r.id = any (array[c.run_id])
        where c.worker_id <> p_me
        group by l.worker_id
        returning worker_id
    )
    select array_agg(m.worker_id) into told from mailed m;
    return coalesce(told, '{}');
end $$;

-- Whether a run has few children, and all of them have ended; with p_leaves: and have had none themselves.
create function fw_have_ended(p_id bytea, p_root bytea, p_leaves boolean) returns boolean language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    terminal constant smallint := 8;
begin
    return (
        select count(*) <= 100 and not coalesce(bool_or(k.state < terminal or (p_leaves and coalesce((
            select true from run d where d.root_id = p_root and d.parent_id = k.id limit 1
        ), false))), false)
        from (
            select c.id, c.state from run c where c.root_id = p_root and c.parent_id = p_id
            order by c.root_id, c.parent_id, c.id limit 101
        ) k
    );
end $$;

-- Close what is below these runs: of those that have children, by one row each. (Of few that have all ended none would end
-- with a parent that completes.)
create function fw_close(p_now bigint, p_ids bytea[], p_which smallint[], p_closing text[]) returns boolean
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
begin
    insert into gate (run_id, root_id, what, which, attempt, error, made_at)
    select r.id, r.root_id, 1, v.which, r.attempt, v.closing, p_now
    from unnest(p_ids, p_which, p_closing) v (id, which, closing)
    cross join lateral (select x.id, x.root_id, x.attempt from run x where x.id = v.id offset 0) r
    where v.which is not null
      and (select true from run c where c.root_id = r.root_id and c.parent_id = r.id limit 1)
      and (v.which <> 1 or not fw_have_ended(r.id, r.root_id, false))
    order by r.id
    on conflict (run_id) do update
    set which = excluded.which, attempt = excluded.attempt, error = excluded.error, made_at = excluded.made_at,
        pass = null, phase = 0, place = null
    where gate.what = 1;
    return found;
end $$;

-- Runs end. p_places: where they stand, of runs that the caller has locked, and that are closed. p_foreign: not by their own attempts, so that whoever executes them is told as well; these the caller has
-- locked. The numbers (from 1) of those that were refused (they had ended, or their attempt is over), to whom it was written, whether something
-- below them was closed, and of which tasks somebody who was suspended is queued now.
create function fw_leave(
    p_me bigint, p_now bigint, p_foreign boolean, e fw_ends, p_places tid[] default null,
    out refused integer[], out told bigint[], out closes boolean, out woken text[]
) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    running constant smallint := 1;
    terminal constant smallint := 8;
    ended integer[];
    under bytea[];
    parents bytea[];
    to_tell bytea[];
    watched boolean;
    unlinked record;
begin
    told := '{}'; refused := '{}'; closes := false; woken := '{}';
    if p_places is null then
        with done as (
            update run r
            set state = v.state, output = v.output, error = v.error, finished_at = p_now, ended_by = v.ended_by,
                busy = r.busy + v.busy,
                deaths = case when v.ended_by = 5 and r.attempt > 0 then r.deaths + 1 else r.deaths end,
                expires_at = null, waits = null, due_at = null
            from unnest(e.id, e.attempt, e.state, e.output, e.error, e.ended_by, e.busy) with ordinality
                 v (id, attempt, state, output, error, ended_by, busy, n)
            where r.id = any (array[v.id]) and r.state < terminal
              and (v.attempt is null or (r.attempt = v.attempt and r.state = running))
            returning v.n::integer
        )
        select array_agg(d.n) into ended from done d;
    else
        with done as (
            update run r
            set state = v.state, output = null, error = v.error, finished_at = p_now, ended_by = v.ended_by,
                expires_at = null, waits = null, due_at = null
            from unnest(p_places, e.state, e.error, e.ended_by) with ordinality v (place, state, error, ended_by, n)
            where r.ctid = v.place
            returning v.n::integer, case when r.worker_id is not null then r.id end as under
        )
        select array_agg(d.n), array_agg(d.under) filter (where d.under is not null) into ended, under from done d;
    end if;
    if coalesce(cardinality(ended), 0) < cardinality(e.id) then
        refused := array(
            select generate_series(1, cardinality(e.id)) except select v.n from unnest(ended) v (n)
        );
    end if;
    if p_foreign and p_places is null then
        select array_agg(r.id) filter (where r.worker_id is not null),
               array_agg(distinct r.parent_id) filter (where not v.local)
        into under, parents
        from unnest(e.id, e.local) with ordinality v (id, local, n) join run r on r.id = any (array[v.id])
        where v.n <> all (refused);
    end if;
    watched := exists (select from watch t where t.worker_id < p_me)
        or exists (select from watch t where t.worker_id > p_me);
    if watched or false = any (e.local) or cardinality(under) > 0 then
        to_tell := array(
            select v.id from unnest(e.id, e.local) with ordinality v (id, local, n)
            where (not v.local or (watched and (select true from watch t where t.run_id = v.id limit 1)))
              and v.n <> all (refused)
        );
        if p_foreign then
            parents := array(
                select p.id from unnest(parents) v (id) join run p on p.id = any (array[v.id]) where p.state = running
            );  -- ('{}' without any)
        end if;
        if cardinality(under) > 0
           or (cardinality(to_tell) > 0 and (watched or parents is null or cardinality(parents) > 0))
        then
            told := fw_tell(p_me, to_tell, under, parents);
        end if;
    end if;
    if cardinality(array_remove(e.which, null)) > 0 then
        if cardinality(refused) > 0 then
            e.which := array(
                select case when v.n <> all (refused) then v.which end
                from unnest(e.which) with ordinality v (which, n) order by v.n
            );
        end if;
        closes := fw_close(p_now, e.id, e.which, e.closing);
    end if;
    if p_me = 0 and exists (select from budget) then  -- (of its own ends a commit does so itself, at last)
        perform fw_even_out(e.id);
    end if;
    if exists (select from hedge) then
        unlinked := fw_help(p_now, e.id);
        told := told || unlinked.told; closes := closes or unlinked.closes; woken := woken || unlinked.woken;
    end if;
    if exists (select from shared s where s.open > 0) then  -- (looked at after the ends, as what follows)
        unlinked := fw_unlink(p_now, e.id);
        told := told || unlinked.told; closes := closes or unlinked.closes; woken := woken || unlinked.woken;
    end if;
    if exists (select from suspended) then  -- (looked at after the ends: see fw_suspend)
        woken := woken || fw_count_ends(p_now, e.id);
        if cardinality(woken) > 0 then
            perform fw_announce('{}', woken);
        end if;
    end if;
end $$;

-- Of these runs, which the caller has locked where they stand, those that are closed end. Which they are, and to whom it was written: not
-- to the workers of their parents, as these have ended, or are closed, or don't wait for them any more. (p_most: so many end,
-- and the others are only named as closed.)
create function fw_cut(
    p_now bigint, p_ids bytea[], p_places tid[], p_most integer default null,
    out closed bytea[], out cut bytea[], out told bigint[]
) language plpgsql
as $$
#variable_conflict error
declare
    reasons text[];
    numbers integer[];
    n integer;
begin
    told := '{}';
    select c.ids, c.reasons, c.numbers into closed, reasons, numbers from fw_closed(p_ids, p_places) c;
    n := least(cardinality(closed), p_most);
    cut := closed[1:n];
    if n > 0 then
        select l.told into told from fw_leave(0, p_now, true, row(
            cut, array_fill(null::integer, array[n]), array_fill(10::smallint, array[n]),
            array_fill(null::text, array[n]), reasons[1:n], array_fill(3::smallint, array[n]),
            array_fill(0::bigint, array[n]), array_fill(true, array[n]), array_fill(null::smallint, array[n]),
            array_fill(null::text, array[n])
        )::fw_ends, array(select p_places[c.n] from unnest(numbers[1:n]) c (n))) l;
    end if;
end $$;

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
                deaths = case p_cause when 4 then least(r.deaths, 1000000) + v.charged::integer when 9 then r.deaths else 0 end,
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
        delete from awaited a using unnest(q.id) v (id) where a.waiter_id = any (array[v.id]);
    end if;
    if cardinality(entered) + cardinality(cut) < cardinality(q.id) then
        refused := array(
            select generate_series(1, cardinality(q.id)) except select v.n from unnest(entered || cut) v (n)
        );
    end if;
end $$;

-- What waits, and has no code, ends: these runs, which the caller has locked, but for those that are closed (they end with
-- that). To whom it was written.
create function fw_fire(
    p_now bigint, p_ids bytea[], p_by smallint, p_state smallint default 8, p_output text default 'null',
    p_error text default null
) returns bigint[] language plpgsql
as $$
#variable_conflict error
declare
    n integer := cardinality(p_ids);
begin
    if n = 0 then
        return '{}';
    end if;
    return (
        select l.told from fw_leave(0, p_now, true, row(
            p_ids, array_fill(null::integer, array[n]), array_fill(p_state, array[n]), array_fill(p_output, array[n]),
            array_fill(p_error, array[n]), array_fill(p_by, array[n]), array_fill(0::bigint, array[n]),
            array_fill(false, array[n]), array_fill(null::smallint, array[n]), array_fill(null::text, array[n])
        )::fw_ends) l
    );
end $$;
