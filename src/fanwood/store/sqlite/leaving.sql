-- How runs leave their states: to an end, by `end_runs`, `complete_runs`, `close_runs` and `close_children`, and by nothing
-- else; into the queue, or to wait, by `queue_runs`, `promote_runs` and `suspend_runs`, and by nothing else. Every row says
-- from which state and attempt, and is passed by if that is over. What goes with it (mail, watches, gates) is put together
-- in leaving.py.

-- name: end_runs
-- Rows: id, attempt, from state, to state, output, error, busy, by whom.
update run
set state = v.value ->> 3, output = v.value ->> 4, error = v.value ->> 5, busy = run.busy + (v.value ->> 6),
    ended_by = v.value ->> 7, deaths = run.deaths + (v.value ->> 7 = 5 and run.attempt > 0), finished_at = :now,
    expires_at = null, waits = null, due_at = null
from json_each(:rows) v
where run.id = unhex(v.value ->> 0) and run.state = v.value ->> 2 and run.attempt = v.value ->> 1;

-- name: complete_runs
-- The same for attempts of one number that all have completed, in a form that takes the least time to read. Their ids are
-- strung together, 16 bytes each. A row: 16 digits of busy, a blank, the output. (`+`: what a column of the table is compared
-- with, as it was bound, would have SQLite plan anew each time.)
update run
set state = 8, output = substr(v.value, 18), error = null, busy = run.busy + cast(v.value as integer),
    ended_by = 1, finished_at = :now, expires_at = null
from json_each(:rows) v
where run.id = substr(:ids, v.key * 16 + 1, 16) and run.state = 1 and run.attempt = +:attempt;

-- name: close_runs
-- The same for runs that are cancelled as something above them is closed, all with one error. A row: 32 hex digits of the
-- id, ten decimal ones of the attempt, one of the state that it leaves.
update run
set state = 10, output = null, error = :error, ended_by = 3, finished_at = :now, expires_at = null, waits = null,
    due_at = null
from json_each(:rows) v
where run.id = unhex(substr(v.value, 1, 32)) and run.state = cast(substr(v.value, 43, 1) as integer)
  and run.attempt = cast(substr(v.value, 33, 10) as integer);

-- name: parents_of_level
-- Of what `close_children` would look at: whose children they are.
select json_group_array(distinct hex(parent_id)) from (
    select q.parent_id from run q indexed by run_ready
    where q.state = 0 and q.task = +:task and q.priority = +:priority and q.root_id = +:root and q.depth = +:depth
    order by q.id limit +:limit
);

-- name: close_children
-- The same for what is queued below something that is closed: some of one root, task, priority and depth. They are children
-- of `parents`, which are closed themselves (`error` says why), or a gate of their own parent covers them. Nobody holds
-- these, and what somebody watches, or was suspended for, is left out, so nothing has to be said of each.
update run
set state = 10, ended_by = 3, finished_at = :now, expires_at = null, output = null, waits = null, due_at = null,
    error = coalesce((select g.error from gate g where g.run_id = run.parent_id and g.what = 1 and case g.which
        when 0 then run.asked <= g.attempt
        else run.on_parent_end <> 3 and (run.asked < g.attempt or (run.on_parent_end = 1 and run.asked = g.attempt))
    end), :error)
where id in (
    select q.id from run q indexed by run_ready
    where q.state = 0 and q.task = +:task and q.priority = +:priority and q.root_id = +:root and q.depth = +:depth
    order by q.id limit +:limit
)
and on_parent_end <> 2
and not exists (select 1 from watch t where t.run_id = run.id)
and not exists (select 1 from awaited a where a.run_id = run.id or a.waiter_id = run.id)
and not exists (select 1 from suspended s where s.run_id = run.id)
and not exists (select 1 from shared s where s.run_id = run.id)
and not exists (select 1 from hedge h where h.run_id = run.id or h.target_id = run.id)
and (budget is null or budget <> id)
and (
    parent_id in (select unhex(value) from json_each(:parents))
    or exists (select 1 from gate g where g.run_id = run.parent_id and g.what = 1 and case g.which
        when 0 then run.asked <= g.attempt
        else run.on_parent_end <> 3 and (run.asked < g.attempt or (run.on_parent_end = 1 and run.asked = g.attempt))
    end)
);

-- name: mail_watchers
insert or ignore into mail (worker_id, run_id)
select w.id, t.run_id
from json_each(:ids) e cross join watch t on t.run_id = unhex(e.value) cross join worker w on w.id = t.worker_id;

-- name: completed_now
select json_group_array(v.key)
from json_each(:rows) v
cross join run r on r.id = substr(:ids, v.key * 16 + 1, 16)
where r.attempt = +:attempt and r.state = 8 and r.finished_at = +:now;

-- name: ended_now
-- After a miscount: which of these did `end_runs` end. Nothing else bears this instant.
select json_group_array(v.key)
from json_each(:rows) v
cross join run r on r.id = unhex(v.value ->> 0)
where r.attempt = v.value ->> 1 and r.state = v.value ->> 3 and r.finished_at = :now;

-- name: keep_attempts
-- Before that: what is known of the attempts after which these are retried (3), taken from a lost worker (4), or replayed
-- (8). Rows as those of `queue_runs`.
insert into attempt (run_id, number, worker_id, worker, state, started_at, finished_at, due_at, error)
select r.id, r.attempt, r.worker_id, (select w.name from worker w where w.id = r.worker_id),
       case when r.state >= 8 then r.state else 9 end, r.started_at, coalesce(r.finished_at, :now), :now + (v.value ->> 4),
       case v.value ->> 3 when 3 then v.value ->> 6 when 8 then r.error end
from json_each(:rows) v cross join run r on r.id = unhex(v.value ->> 0)
where v.value ->> 3 in (3, 4, 8) and r.state = v.value ->> 2 and r.attempt = v.value ->> 1 and r.attempt > 0
on conflict do update set due_at = excluded.due_at;  -- it never began, and is replayed

-- name: forget_attempts
-- So many are kept of each.
delete from attempt
where run_id in (select unhex(v.value ->> 0) from json_each(:rows) v where v.value ->> 1 > :kept)
  and number <= (select r.attempt from run r where r.id = attempt.run_id) - :kept;

-- name: queue_runs
-- Rows: id, attempt, from state, cause, delay, charge (a failure or a death), error, busy, deadline, its owner. Causes:
-- 3 retry, 4 lease lost, 5 hand-back, 8 replay, 9 due. A new trial begins with a retry and with a replay. The limit of an
-- attempt that is over is no other one's: it is forgotten, unless a child lives (or there are many).
update run
set state = case when v.value ->> 4 > 0 then 2 else 0 end,
    waits = case when v.value ->> 4 > 0 then 2 end,
    due_at = case when v.value ->> 4 > 0 then :now + (v.value ->> 4) end,
    retry_count = case v.value ->> 3 when 3 then run.retry_count + 1 when 8 then 0 else run.retry_count end,
    trial_start = case when v.value ->> 3 in (3, 8) then run.attempt + 1 else run.trial_start end,
    deaths = case
        when v.value ->> 3 = 4 then run.deaths + (v.value ->> 5)
        when v.value ->> 3 = 9 or (v.value ->> 3 = 5 and v.value ->> 7 = 0) then run.deaths
        else 0
    end,
    output = null,
    error = case v.value ->> 3 when 8 then null else coalesce(v.value ->> 6, run.error) end,
    busy = run.busy + (v.value ->> 7),
    ended_by = null,
    finished_at = null,
    deadline = case v.value ->> 3 when 8 then v.value ->> 8 else run.deadline end,
    deadline_by = case v.value ->> 3 when 8 then nullif(unhex(v.value ->> 9), x'') else run.deadline_by end,
    expires_at = case v.value ->> 3
        when 9 then run.expires_at
        else nullif(min(
            coalesce(case v.value ->> 3 when 8 then v.value ->> 8 else run.deadline end, 9e18),
            coalesce(:now + (v.value ->> 4) + run.schedule_timeout, 9e18)
        ), 9e18)
    end,
    limit_at = case
        when run.limit_at is not null
            and (v.value ->> 3 = 9 or (
                select count(*) > 100 or coalesce(max(k.state < 8), 0) from (
                    select c.state from run c where c.root_id = run.root_id and c.parent_id = run.id order by c.id limit 101
                ) k
            ))
        then run.limit_at
    end
from json_each(:rows) v
where run.id = unhex(v.value ->> 0) and run.state = v.value ->> 2 and run.attempt = v.value ->> 1;

-- name: promote_runs
-- The same for runs whose time has come, and nothing else is to be said of. (All that the table's rules compare with the
-- state is set, here and where else many go in one statement: a row that somebody has spoilt would hold up the others.)
update run set state = 0, waits = null, due_at = null, finished_at = null
where id in (select unhex(value) from json_each(:ids)) and state = 2;

-- name: record_again
-- What has no code, and had failed or been cancelled, or waits and is closed, is done again in place by its parent's new trial
-- (a link to what is shared by whoever asks); what waits may wait anew. Rows as those of `insert_records`.
update run
set state = v.value ->> 5, waits = case when v.value ->> 5 = 2 then (v.value ->> 17) - 9 end, due_at = v.value ->> 9,
    trial_start = run.attempt + 1, asked = v.value ->> 11, output = v.value ->> 6, error = v.value ->> 7,
    ended_by = case when v.value ->> 5 >= 8 then 1 end, finished_at = case when v.value ->> 5 >= 8 then :now end,
    started_at = case when run.attempt > 0 then coalesce(min(v.value ->> 8, :now), :now) end,
    deadline = case when v.value ->> 5 = 2 then v.value ->> 12 end,
    deadline_by = case when v.value ->> 5 = 2 then nullif(unhex(v.value ->> 13), x'') end,
    schedule_timeout = v.value ->> 21, awaits = unhex(v.value ->> 22),
    expires_at = case when v.value ->> 5 = 2 then coalesce(
        min(v.value ->> 12, :now + (v.value ->> 21)), v.value ->> 12, :now + (v.value ->> 21)
    ) end
from json_each(:rows) v
where run.id = unhex(v.value ->> 0) and (
    (run.state in (9, 10) and (run.kind = 15 or run.asked < (select p.trial_start from run p where p.id = run.parent_id)))
    or (run.state = 2 and v.value ->> 5 = 2 and v.value ->> 22 is not null)
    or (run.state = 2 and run.on_parent_end <> 2 and exists (
        select 1 from gate g
        where g.run_id = run.parent_id and g.what = 1
          and (run.asked < g.attempt or (run.asked = g.attempt and (g.which = 0 or run.on_parent_end = 1)))
    ))
);

-- name: renew_runs
-- Of runs that were just handed back: they start over. Rows: id, attempt, input, life.
update run
set input = v.value ->> 2, retry_count = 0, trial_start = run.attempt + 1, error = null, life = v.value ->> 3,
    limit_at = null
from json_each(:rows) v
where run.id = unhex(v.value ->> 0) and run.state = 0 and run.attempt = v.value ->> 1;

-- name: lives
select json_group_array(json_array(r.attempt, r.life))
from json_each(:rows) v cross join run r on r.id = unhex(v.value ->> 0);

-- name: forget_suspended
delete from suspended where run_id in (select unhex(v.value ->> 0) from json_each(:rows) v);

-- name: log_renewals
-- Rows as those of `renew_runs`, and what is said.
insert into log (run_id, seq, attempt, at, level, message)
select r.id, coalesce((select max(o.seq) + 1 from log o where o.run_id = r.id and o.seq < 1073741824), 0), r.attempt, :now,
       'info', v.value ->> 4
from json_each(:rows) v cross join run r on r.id = unhex(v.value ->> 0);

-- name: queued_now
-- After a miscount: which of these did `queue_runs` take. (Or were queued already; but a retry begins a trial, and leaves
-- its error there, which one that was asked for anew since has not.)
select json_group_array(v.key)
from json_each(:rows) v
cross join run r on r.id = unhex(v.value ->> 0)
where r.state in (0, 2) and r.attempt = v.value ->> 1
  and (v.value ->> 3 <> 3 or (r.trial_start > r.attempt and r.error = v.value ->> 6));

-- name: has_watchers
select exists (select 1 from watch where worker_id < :me) or exists (select 1 from watch where worker_id > :me);

-- name: mail_ended
-- Tell of these ended runs: the worker of the parent, and whoever watches.
insert or ignore into mail (worker_id, run_id)
select w.id, told.run_id
from (
    select p.worker_id, r.id as run_id
    from json_each(:ids) e cross join run r on r.id = unhex(e.value) cross join run p on p.id = r.parent_id
    where p.state = 1
    union all
    select t.worker_id, t.run_id from json_each(:ids) e cross join watch t on t.run_id = unhex(e.value)
) told
cross join worker w on w.id = told.worker_id
where told.worker_id <> :me;

-- name: mail_holders
-- These are RUNNING, or were until somebody else ended them: tell their workers.
insert or ignore into mail (worker_id, run_id)
select w.id, r.id
from json_each(:ids) e cross join run r on r.id = unhex(e.value) cross join worker w on w.id = r.worker_id;

-- name: forget_watches
delete from watch where run_id in (select unhex(value) from json_each(:ids));

-- --- gates -----------------------------------------------------------------------------------------------------------

-- name: is_gated
select exists (select 1 from gate where what = 1);

-- name: make_gates
-- What is below these is closed; nothing for those that have no children. Rows: id, which, attempt, error, and whether it
-- is looked first if few children have all ended (1), and have had none (2; 3: or have failed by their own code, which has
-- closed what was below them, or was asked the same).
insert into gate (run_id, root_id, what, which, attempt, error, made_at)
select r.id, r.root_id, 1, v.value ->> 1, v.value ->> 2, v.value ->> 3, :now
from json_each(:rows) v cross join run r on r.id = unhex(v.value ->> 0)
where exists (select 1 from run c where c.root_id = r.root_id and c.parent_id = r.id)
  and (v.value ->> 4 = 0 or (
      select count(*) > 100 or max(k.state < 8 or (
          v.value ->> 4 >= 2 and not (v.value ->> 4 = 3 and k.state = 9 and k.ended_by = 1)
          and exists (select 1 from run d where d.root_id = r.root_id and d.parent_id = k.id)
      ))
      from (
          select c.id, c.state, c.ended_by from run c where c.root_id = r.root_id and c.parent_id = r.id order by c.id limit 101
      ) k
  ))
on conflict (run_id) do update set
    which = excluded.which, attempt = excluded.attempt, error = excluded.error, made_at = excluded.made_at,
    since = coalesce(since, made_at), pass = null, phase = 0, place = null
    where what = 1;

-- name: closed
-- Which of these runs are below something that is closed, and what is said of them then; of those that have ended, which
-- would end if they were replayed now; or, if they `stay` as they are, only those that had not ended before. Of their
-- ancestors each is looked at once, and whether it is closed itself is found from the top down. Nothing is looked at that
-- is no deeper than all that is closed, if that is little: where one failure climbs a chain, that is all of it.
with recursive
floor (depth) as materialized (
    select coalesce(
        case when (select count(*) from (select 1 from gate where what = 1 limit 101)) <= 100
            then (select min(r.depth) from gate g cross join run r on r.id = g.run_id where g.what = 1)
        end, -1
    )
),
asked_for (id) as materialized (
    select r.id from json_each(:ids) e cross join run r on r.id = unhex(e.value)
    where r.depth > (select depth from floor) and r.root_id in (select root_id from gate where what = 1)
),
above (id, parent_id, asked, on_parent_end, state, finished_at, ended_by) as (
    select p.id, p.parent_id, p.asked, p.on_parent_end, p.state, p.finished_at, p.ended_by
    from (select distinct r.parent_id as id from asked_for a cross join run r on r.id = a.id) d
    cross join run p on p.id = d.id
    where p.depth > (select depth from floor)
    union
    select p.id, p.parent_id, p.asked, p.on_parent_end, p.state, p.finished_at, p.ended_by
    from above a cross join run p on p.id = a.parent_id
    where p.depth > (select depth from floor)
),
shut (id, error) as materialized (
    select a.id, g.error
    from above a cross join gate g on g.run_id = a.parent_id
    where g.what = 1 and a.on_parent_end <> 2
      and case g.which
          when 0 then a.asked <= g.attempt
          else (a.ended_by = 3 and a.finished_at >= coalesce(g.since, g.made_at)) or (
              a.on_parent_end <> 3 and (a.asked < g.attempt or (a.on_parent_end = 1 and a.asked = g.attempt))
              and (a.state < 8 or a.finished_at > g.made_at)
          )
      end
    union
    select a.id, s.error from shut s join above a on a.parent_id = s.id where a.on_parent_end <> 2
)
select json_group_array(json_array(error, json(ids))) from (
    select error, json_group_array(hex(id)) as ids from (
    select r.id, coalesce(
        (
            select g.error from gate g
            where g.run_id = r.parent_id and g.what = 1
              and case g.which
                  when 0 then r.asked <= g.attempt
                  else (:stay and r.ended_by = 3 and r.finished_at >= coalesce(g.since, g.made_at)) or (
                      r.on_parent_end <> 3 and (r.asked < g.attempt or (r.on_parent_end = 1 and r.asked = g.attempt))
                      and (not :stay or r.state < 8 or r.finished_at > g.made_at)
                  )
              end
        ),
        (select s.error from shut s where s.id = r.parent_id)
    ) as error
    from asked_for a cross join run r on r.id = a.id
    where r.on_parent_end <> 2
    )
    where error is not null
    group by error
);

-- --- suspended runs --------------------------------------------------------------------------------------------------

-- name: has_suspended
select exists (select 1 from suspended);

-- name: suspendable
-- Which of these (run, attempt) pairs are what they say.
select json_group_array(v.key)
from json_each(:rows) v cross join run r on r.id = unhex(v.value ->> 0)
where r.state = 1 and r.attempt = v.value ->> 1;

-- name: count_awaited
-- Rows: number, run, weight. By number: how many have ended (or are gone), and whether one of those is enough by itself.
select json_group_array(json_array(n, over, enough)) from (
    select v.value ->> 0 as n, sum(r.id is null or r.state >= 8) as over,
           max(r.id is null or (r.state >= 8 and (v.value ->> 2 = 2 or (v.value ->> 2 = 3 and r.state <> 8)))) as enough
    from json_each(:rows) v left join run r on r.id = unhex(v.value ->> 1)
    group by v.value ->> 0
);

-- name: suspend_runs
-- Rows: id, attempt, until, busy, missing.
update run
set state = 2, waits = 1, due_at = v.value ->> 2, busy = run.busy + (v.value ->> 3), deaths = 0,
    expires_at = run.deadline, finished_at = null
from json_each(:rows) v
where run.id = unhex(v.value ->> 0) and run.state = 1 and run.attempt = v.value ->> 1;

-- name: note_suspended
insert into suspended (run_id, attempt, wakes, missing, until, pending)
select unhex(v.value ->> 0), v.value ->> 1, 1, v.value ->> 4, v.value ->> 2, v.value ->> 5 from json_each(:rows) v where true
on conflict (run_id) do update
set attempt = excluded.attempt, wakes = wakes + 1, missing = excluded.missing, until = excluded.until,
    pending = excluded.pending;

-- name: note_awaited
-- Rows: waiter, run, weight.
insert or replace into awaited (run_id, waiter_id, weight)
select r.id, unhex(v.value ->> 0), v.value ->> 2
from json_each(:rows) v cross join run r on r.id = unhex(v.value ->> 1) where r.state < 8;

-- name: ends_awaited
-- After ends: whose they are awaited by, how many each is missing less, and whether one is enough by itself.
select json_group_array(json_array(hex(waiter_id), n, enough)) from (
    select a.waiter_id, count(*) as n, max(a.weight = 2 or (a.weight = 3 and r.state <> 8)) as enough
    from json_each(:ids) e cross join awaited a on a.run_id = unhex(e.value) cross join run r on r.id = a.run_id
    where r.state >= 8
    group by a.waiter_id
);

-- name: drop_awaited
delete from awaited
where run_id in (select unhex(value) from json_each(:ids))
  and (select r.state from run r where r.id = awaited.run_id) >= 8;

-- name: lower_missing
-- Rows: waiter, how many, whether one is enough.
update suspended set missing = case when v.value ->> 2 then 0 else missing - (v.value ->> 1) end
from json_each(:rows) v where run_id = unhex(v.value ->> 0);

-- name: awake
-- Of these waiters those that miss nothing any more.
select json_group_array(json_array(hex(r.id), r.attempt, r.state, r.kind))
from json_each(:rows) v
cross join suspended s on s.run_id = unhex(v.value ->> 0) cross join run r on r.id = s.run_id
where s.missing <= 0 and r.state = 2 and r.waits = 1;

-- name: drop_waiters
-- Of those that do not wait any more.
delete from awaited
where waiter_id in (select unhex(value) from json_each(:ids))
  and (select r.state from run r where r.id = awaited.waiter_id) <> 2;

-- name: drop_suspended
delete from suspended
where run_id in (select unhex(value) from json_each(:ids))
  and (select r.state from run r where r.id = suspended.run_id) >= 8;

-- name: read_suspended
select json_group_array(json_array(hex(s.run_id), s.attempt, s.wakes, s.until, s.pending))
from json_each(:ids) e cross join suspended s on s.run_id = unhex(e.value);
