-- How attempts end, and what they logged.

-- (Of a run's progress there is one line, the last one, before all others. Chunks of its stream come after all of them.)
-- (Their numbers are known before the first is written: in one statement each look for the last one would pass by all that
-- this statement has written.)
create function fw_write_log(l fw_logs) returns void language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    running constant smallint := 1;
    lines fw_logs;
    numbers integer[];
    left_ bigint[];
    places bigint[];
begin
    loop
        select array_agg(w.id order by w.n), array_agg(w.seq order by w.n), array_agg(w.attempt order by w.n),
               array_agg(w.at order by w.n), array_agg(w.level order by w.n), array_agg(w.message order by w.n),
               array_agg(w.n order by w.n)
        into lines.run, numbers, lines.attempt, lines.at, lines.level, lines.message, places
        from (
            select r.id,
                   case v.level when 'progress' then -1
                   else row_number() over (
                            partition by r.id, case v.level when 'progress' then 0 when 'chunk' then 1 when 'bytes' then 1
                                           when 'chunk+' then 1 when 'bytes+' then 1 else 2 end
                            order by v.n
                        ) - 1
                        + case when v.level in ('chunk', 'bytes', 'chunk+', 'bytes+')
                               then coalesce((
                                   select o.seq + 1 from log o where o.run_id = r.id and o.seq >= 1073741824
                                   order by o.run_id desc, o.seq desc limit 1
                               ), 1073741824)
                               else coalesce((
                                   select o.seq + 1 from log o where o.run_id = r.id and o.seq < 1073741824
                                   order by o.run_id desc, o.seq desc limit 1
                               ), 0) end
                   end as seq,
                   r.attempt, v.at, v.level, v.message, v.n
            from unnest(l.run, l.attempt, l.at, l.level, l.message) with ordinality v (run, attempt, at, level, message, n)
            cross join lateral (  -- (numbered by run, they might else be read in the order of all runs)
                select x.id, x.attempt from run x
                where x.id = v.run and x.state = running and x.attempt = v.attempt offset 0
            ) r
            where left_ is null or v.n = any (left_)
        ) w;
        exit when places is null;
        with written as (
            insert into log (run_id, seq, attempt, at, level, message)
            select v.run, v.seq, v.attempt, v.at, v.level, v.message
            from unnest(lines.run, numbers, lines.attempt, lines.at, lines.level, lines.message) v (
                run, seq, attempt, at, level, message
            )
            on conflict (run_id, seq) do update
            set attempt = excluded.attempt, at = excluded.at, message = excluded.message where log.seq = -1
            returning run_id, seq
        )
        select case when (select count(*) from written) < cardinality(places) then array(
            select v.n from unnest(lines.run, numbers, places) v (run, seq, n)
            where not exists (select from written d where d.run_id = v.run and d.seq = v.seq)
        ) end into left_;
        exit when left_ is null;  -- else a call has noted something meanwhile (`fw_note`)
    end loop;
end $$;

-- A call notes what it did to a run, whatever that logs at this moment.
create function fw_note(p_id bytea, p_attempt integer, p_now bigint, p_text text) returns void language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
begin
    loop
        insert into log (run_id, seq, attempt, at, level, message)
        select p_id, coalesce((
                   select o.seq + 1 from log o where o.run_id = p_id and o.seq < 1073741824
                   order by o.run_id desc, o.seq desc limit 1
               ), 0), p_attempt, p_now, 'info', p_text
        on conflict do nothing;
        exit when found;
    end loop;
end $$;

-- Ends, as they are if those of these numbers end with what closed them.
create function fw_overrule(e fw_ends, p_numbers integer[], p_reasons text[]) returns fw_ends language plpgsql
set enable_nestloop = off set enable_mergejoin = off set enable_hashjoin = on
as $$
#variable_conflict error
begin
    select array_agg(case when c.n is null then v.state else 10 end::smallint order by v.n),
           array_agg(case when c.n is null then v.output end order by v.n),
           array_agg(case when c.n is null then v.error else c.reason end order by v.n),
           array_agg(case when c.n is null then v.ended_by else 3 end::smallint order by v.n),
           array_agg(case when c.n is null then v.which end order by v.n)
    into e.state, e.output, e.error, e.ended_by, e.which
    from unnest(e.state, e.output, e.error, e.ended_by, e.which) with ordinality
         v (state, output, error, ended_by, which, n)
    left join unnest(p_numbers, p_reasons) c (n, reason) on c.n = v.n;
    return e;
end $$;

-- All outcomes of a batch: ends, and attempts that ended but not for good. An attempt that is closed ends with what
-- closed it, whatever it says. The numbers of ends and of requeues that didn't come as they were reported, to whom it was
-- written, which tasks have a run that is ready again, and whether something was closed, or had been.
create function fw_report(
    p_me bigint, p_now bigint, p_gated boolean, e fw_ends, q fw_entries,
    out refused integer[], out not_queued integer[], out told bigint[], out ready text[], out closes boolean,
    out woken boolean
) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    closed integer[] := '{}';
    reasons text[];
    handed fw_entries;
    part record;
    cause integer;
begin
    refused := '{}'; not_queued := '{}'; told := '{}'; ready := '{}'; closes := false; woken := false;
    if cardinality(e.id) > 0 then
        if p_gated then
            select c.numbers, c.reasons into closed, reasons from fw_closed(e.id) c;
            if cardinality(closed) > 0 then
                e := fw_overrule(e, closed, reasons);
            end if;
        end if;
        part := fw_leave(p_me, p_now, false, e);
        refused := part.refused;
        if cardinality(closed) > 0 then
            refused := array(select distinct r from unnest(closed || refused) r);
        end if;
        told := part.told;
        woken := cardinality(part.woken) > 0;
        closes := part.closes or cardinality(closed) > 0;
    end if;
    if cardinality(q.id) > 0 then
        foreach cause in array array[3, 5] loop
            select array_agg(v.id), array_agg(v.attempt), array_agg(v.delay), array_agg(v.error), array_agg(v.busy),
                   array_agg(v.charged)
            into handed
            from unnest(q.id, q.attempt, q.delay, q.error, q.busy, q.charged)
                 v (id, attempt, delay, error, busy, charged)
            where v.charged = (cause = 3);
            if cardinality(handed.id) > 0 then
                part := fw_enter(p_me, p_now, cause, handed);
                not_queued := not_queued || array(
                    select v.n::integer from unnest(q.id, q.attempt, q.charged) with ordinality
                                             v (id, attempt, charged, n)
                    join unnest(handed.id, handed.attempt) with ordinality h (id, attempt, n)
                         on h.id = v.id and h.attempt = v.attempt
                    where v.charged = (cause = 3) and h.n = any (part.refused || part.cut)
                );
                told := told || part.told;
                ready := ready || part.ready;
                closes := closes or cardinality(part.cut) > 0;
            end if;
        end loop;
    end if;
end $$;

-- Of outcomes that didn't come as they were reported: those that ended instead, as what is above them was closed.
-- As JSON: [[id, error, task], ...].
create function fw_overruled(p_ids bytea[], p_attempts integer[]) returns text language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    cancelled constant smallint := 10;
begin
    return (
        select coalesce(json_agg(json_build_array(upper(encode(r.id, 'hex')), r.error, r.task))::text, '[]')
        from unnest(p_ids, p_attempts) v (id, attempt)
        cross join lateral (
            select x.id, x.error, x.task from run x
            where x.id = v.id and x.attempt = v.attempt and x.state = cancelled and x.ended_by = 3 offset 0
        ) r
    );
end $$;

-- Runs start over: of these requeues (which were handed back just now, but for p_refused) the next attempts are the first
-- of new lives. As JSON: [[number of the requeue, run, input, the error of what is closed], ...]. Whether something is
-- closed now.
create function fw_start_over(p_now bigint, p_renewals text, p_refused integer[]) returns boolean language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    one record;
    run_ record;
    closes boolean := false;
begin
    for one in
        select (v.j ->> 0)::integer as n, decode(v.j ->> 1, 'hex') as id, v.j ->> 2 as input, v.j ->> 3 as closing
        from json_array_elements(p_renewals::json) v (j) order by decode(v.j ->> 1, 'hex')
    loop
        continue when one.n = any (p_refused);
        update run r
        set input = one.input, retry_count = 0, trial_start = r.attempt + 1, error = null, limit_at = null,
            life = format('[%s,%s,%s]', coalesce(substring(r.life from '^\[(\d{1,9}),')::integer, 0) + 1, r.attempt + 1, p_now)
        where r.id = one.id
        returning r.root_id, r.attempt, substring(r.life from '^\[(\d+),') as number into run_;
        delete from suspended s where s.run_id = one.id;
        insert into log (run_id, seq, attempt, at, level, message)
        select one.id,
               coalesce((
                   select o.seq + 1 from log o where o.run_id = one.id and o.seq < 1073741824
                   order by o.run_id desc, o.seq desc limit 1
               ), 0),
               run_.attempt, p_now, 'info', format('it starts over (%s)', run_.number);
        if not fw_have_ended(one.id, run_.root_id, true) then
            closes := fw_close(p_now, array[one.id], array[0::smallint], array[one.closing]) or closes;
        end if;
    end loop;
    return closes;
end $$;
