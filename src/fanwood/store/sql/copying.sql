-- Whole tables, from one database to another, in the order of their keys. Common subset of SQLite and PostgreSQL. What
-- is RUNNING under a worker of one database, or suspended, is QUEUED in the other; which worker had a run before means nothing there.

-- name: copy_out_task
select name, kind, description, priority, schedule_timeout, metadata, schema, version, updated_at
from task where name > :name order by name limit :limit;

-- name: copy_in_task
insert into task (name, kind, description, priority, schedule_timeout, metadata, schema, version, updated_at)
values (:name, :kind, :description, :priority, :schedule_timeout, :metadata, :schema, :version, :updated_at)
on conflict do nothing;

-- name: copy_out_run
select id, parent_id, root_id, depth, kind, task, identity, child_index, child_key, input_digest, input, metadata,
       priority, on_parent_end, case when state = 1 or waits = 1 then 0 else state end as state,
       case when waits <> 1 then waits end as waits, case when waits <> 1 then due_at end as due_at, attempt,
       trial_start, retry_count, deaths, case when parent_id is not null then asked else 0 end as asked, null as worker_id, deadline, deadline_by, schedule_timeout,
       expires_at, created_at, started_at, finished_at, busy, ended_by, output, error, limit_at, awaits, life, budget
from run where id > :id order by id limit :limit;

-- name: copy_in_run
insert into run (
    id, parent_id, root_id, depth, kind, task, identity, child_index, child_key, input_digest, input, metadata,
    priority, on_parent_end, state, waits, due_at, attempt, trial_start, retry_count, deaths, asked, worker_id,
    deadline, deadline_by, schedule_timeout, expires_at, created_at, started_at, finished_at, busy, ended_by, output,
    error, limit_at, awaits, life, budget
) values (
    :id, :parent_id, :root_id, :depth, :kind, :task, :identity, :child_index, :child_key, :input_digest, :input,
    :metadata, :priority, :on_parent_end, :state, :waits, :due_at, :attempt, :trial_start, :retry_count, :deaths,
    :asked, :worker_id, :deadline, :deadline_by, :schedule_timeout, :expires_at, :created_at, :started_at,
    :finished_at, :busy, :ended_by, :output, :error, :limit_at, :awaits, :life, :budget
)
on conflict do nothing;

-- name: copy_out_idem
select namespace, key, run_id, digest, expires_at
from idem where (namespace, key) > (:namespace, :key) order by namespace, key limit :limit;

-- name: copy_in_idem
insert into idem (namespace, key, run_id, digest, expires_at) values (:namespace, :key, :run_id, :digest, :expires_at)
on conflict do nothing;

-- name: copy_out_shared
select root_id, digest, run_id, open from shared where (root_id, digest) > (:root_id, :digest)
order by root_id, digest limit :limit;

-- name: copy_in_shared
insert into shared (root_id, digest, run_id, open) values (:root_id, :digest, :run_id, :open) on conflict do nothing;

-- name: count_shared
select count(*) from shared;

-- name: copy_out_hedge
select run_id, target_id from hedge where run_id > :run_id order by run_id limit :limit;

-- name: copy_in_hedge
insert into hedge (run_id, target_id) values (:run_id, :target_id) on conflict do nothing;

-- name: count_hedge
select count(*) from hedge;

-- name: copy_out_gate
select run_id, root_id, what, which, attempt, error, made_at, since from gate where run_id > :run_id
order by run_id limit :limit;

-- name: copy_in_gate
insert into gate (run_id, root_id, what, which, attempt, error, made_at, since)
values (:run_id, :root_id, :what, :which, :attempt, :error, :made_at, :since)
on conflict do nothing;

-- name: copy_out_pause
select run_id, root_id, made_at, asked_by, resumed_at, place from pause where run_id > :run_id order by run_id limit :limit;

-- name: copy_in_pause
insert into pause (run_id, root_id, made_at, asked_by, resumed_at, place)
values (:run_id, :root_id, :made_at, :asked_by, :resumed_at, :place)
on conflict do nothing;

-- name: count_pause
select count(*) from pause;

-- name: copy_out_urgency
select run_id, root_id, priority, made_at, asked_by, place from urgency where run_id > :run_id order by run_id limit :limit;

-- name: copy_in_urgency
insert into urgency (run_id, root_id, priority, made_at, asked_by, place)
values (:run_id, :root_id, :priority, :made_at, :asked_by, :place)
on conflict do nothing;

-- name: count_urgency
select count(*) from urgency;

-- name: copy_out_log
select run_id, seq, attempt, at, level, message
from log where (run_id, seq) > (:run_id, :seq) order by run_id, seq limit :limit;

-- name: copy_in_log
insert into log (run_id, seq, attempt, at, level, message)
values (:run_id, :seq, :attempt, :at, :level, :message)
on conflict do nothing;

-- name: copy_out_attempt
select run_id, number, worker_id, worker, state, started_at, finished_at, due_at, error
from attempt where (run_id, number) > (:run_id, :number) order by run_id, number limit :limit;

-- name: copy_in_attempt
insert into attempt (run_id, number, worker_id, worker, state, started_at, finished_at, due_at, error)
values (:run_id, :number, :worker_id, :worker, :state, :started_at, :finished_at, :due_at, :error)
on conflict do nothing;

-- name: copy_out_event
select id, number, key, scope, payload, metadata, at, open, digest from event where id > :id order by id limit :limit;

-- name: copy_in_event
insert into event (id, number, key, scope, payload, metadata, at, open, digest)
values (:id, :number, :key, :scope, :payload, :metadata, :at, :open, :digest)
on conflict do nothing;

-- name: copy_out_tree
select root_id, runs from tree where root_id > :root_id order by root_id limit :limit;

-- name: copy_in_tree
insert into tree (root_id, runs) values (:root_id, :runs) on conflict do nothing;

-- name: count_tree
select count(*) from tree;

-- name: copy_out_fork
select root_id, origin_id, origin_root, at_id, changed, made_at, asked_by from fork
where root_id > :root_id order by root_id limit :limit;

-- name: copy_in_fork
insert into fork (root_id, origin_id, origin_root, at_id, changed, made_at, asked_by)
values (:root_id, :origin_id, :origin_root, :at_id, :changed, :made_at, :asked_by)
on conflict do nothing;

-- name: count_fork
select count(*) from fork;

-- name: copy_out_budget
select run_id, unit, source, root_id, parent, size, amount, used, held, base, open from budget
where (run_id, unit) > (:run_id, :unit) order by run_id, unit limit :limit;

-- name: copy_in_budget
insert into budget (run_id, unit, source, root_id, parent, size, amount, used, held, base, open)
values (:run_id, :unit, :source, :root_id, :parent, :size, :amount, :used, :held, :base, :open)
on conflict do nothing;

-- name: count_budget
select count(*) from budget;

-- name: copy_out_spend
select run_id, id, unit, root_id, source, attempt, amount, held from spend
where (run_id, id, unit) > (:run_id, :id, :unit) order by run_id, id, unit limit :limit;

-- name: copy_in_spend
insert into spend (run_id, id, unit, root_id, source, attempt, amount, held)
values (:run_id, :id, :unit, :root_id, :source, :attempt, :amount, :held)
on conflict do nothing;

-- name: count_spend
select count(*) from spend;

-- name: copy_out_value
select run_id, key, value from value where (run_id, key) > (:run_id, :key) order by run_id, key limit :limit;

-- name: copy_in_value
insert into value (run_id, key, value) values (:run_id, :key, :value) on conflict do nothing;

-- name: count_value
select count(*) from value;

-- name: copy_out_message
select run_id, name, number, envelope, once from message where (run_id, name, number) > (:run_id, :name, :number)
order by run_id, name, number limit :limit;

-- name: copy_in_message
insert into message (run_id, name, number, envelope, once) values (:run_id, :name, :number, :envelope, :once)
on conflict do nothing;

-- name: count_message
select count(*) from message;

-- name: count_event
select count(*) from event;

-- name: count_task
select count(*) from task;

-- name: count_run
select count(*) from run;

-- name: count_log
select count(*) from log;

-- name: count_attempt
select count(*) from attempt;

-- name: count_idem
select count(*) from idem;

-- name: count_gate
select count(*) from gate;
