-- Forks (forking.py).

-- name: insert_fork
-- A root with what a run has: of the program of that one's root.
insert into run (
    id, root_id, depth, kind, task, input, metadata, priority, on_parent_end, state, attempt, asked, schedule_timeout,
    expires_at, created_at, life
)
select :id, :id, 0, r.kind, r.task, coalesce(:input, r.input), r.metadata, r.priority, 0, 0, 0,
       (select t.asked from run t where t.id = r.root_id), r.schedule_timeout, :now + r.schedule_timeout, :now, :life
from run r where r.id = :of
on conflict do nothing;

-- name: insert_lineage
insert into fork (root_id, origin_id, origin_root, at_id, changed, made_at, asked_by)
values (:id, :of, :root, :at, :changed, :now, :by);
