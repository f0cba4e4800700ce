-- Runs that several calls of a tree share, and the calls' links to them (`awaits`: what is shared, and the shared run inside
-- of which the call is).

-- name: any_open
select exists (select 1 from shared where open > 0);

-- name: read_link
select json_array(state, awaits is not null, hex(parent_id), hex(root_id), state = 2 and on_parent_end <> 2 and exists (
    select 1 from gate g
    where g.run_id = run.parent_id and g.what = 1
      and (run.asked < g.attempt or (run.asked = g.attempt and (g.which = 0 or run.on_parent_end = 1)))
)) from run where id = :id;

-- name: ask_link
update run set asked = :asked, deadline = :deadline, deadline_by = :deadline_by, expires_at = :expires_at, on_parent_end = :policy
where id = :id and state = 2;

-- name: read_shared
select json_array(hex(r.id), r.state, r.attempt) from shared s cross join run r on r.id = s.run_id
where s.root_id = :root and s.digest = :digest;

-- name: insert_shared_run
insert into run (
    id, parent_id, root_id, depth, kind, task, input, metadata, priority, on_parent_end, state, attempt, asked, schedule_timeout,
    expires_at, created_at, budget
)
select :id, r.id, r.id, 1, :kind, :task, :input, :metadata, :priority, 3, 0, 0, r.attempt, :schedule_timeout, :now + :schedule_timeout,
       :now, r.budget
from run r where r.id = :root;

-- name: insert_shared
insert into shared (root_id, digest, run_id, open) values (:root, :digest, :id, 1);

-- name: ask_shared
-- What an earlier attempt of the root has closed is free again.
update run set asked = (select r.attempt from run r where r.id = run.root_id),
    priority = case when state < 8 then max(priority, :priority) else priority end
where id = :id;

-- name: links_there
select json_group_array(hex(r.id)) from json_each(:ids) e cross join run r on r.id = unhex(e.value);

-- name: link
update run set awaits = unhex(v.value ->> 1) from json_each(:rows) v where run.id = unhex(v.value ->> 0);

-- name: insides
-- The shared run that a call is a part of: the ancestor that is a child of the root, if that is one.
with recursive above (start, id, parent_id, depth) as (
    select r.id, r.id, r.parent_id, r.depth from json_each(:ids) e cross join run r on r.id = unhex(e.value)
    union all
    select a.start, p.id, p.parent_id, p.depth from above a cross join run p on p.id = a.parent_id where a.depth > 1
)
select json_group_array(json_array(hex(a.start), hex(s.run_id)))
from above a cross join shared s on s.run_id = a.id where a.depth = 1;

-- name: next_inside
select hex(substr(awaits, 17)) from run indexed by run_awaiting
where state = 2 and awaits is not null and awaits > :after and awaits < :end order by awaits limit 1;

-- name: tasks_of
select json_group_array(json_array(hex(r.id), r.task)) from json_each(:ids) e cross join run r on r.id = unhex(e.value);

-- name: outcome_of
select json_array(state, output, error, ended_by) from run where id = :id;

-- name: open_targets
-- Of these those that are shared, and whose links are to be told.
select json_group_array(hex(s.run_id)) from json_each(:ids) e cross join shared s on s.run_id = unhex(e.value)
where s.open > 0;

-- name: left_targets
-- Of these runs those that are links, and have ended: what they were links to.
select json_group_array(distinct hex(substr(r.awaits, 1, 16))) from json_each(:ids) e cross join run r on r.id = unhex(e.value)
where r.kind = 15 and r.state >= 8 and r.awaits is not null;

-- name: some_links
select json_group_array(json_array(hex(id), attempt)) from (
    select id, attempt from run indexed by run_awaiting
    where state = 2 and awaits is not null and awaits > :target and awaits < :end order by awaits limit +:limit
);

-- name: unwanted
-- A shared run that lives, and has no link that waits.
select json_array(r.attempt, r.state) from shared s cross join run r on r.id = s.run_id
where s.run_id = :target and r.state < 8 and not exists (
    select 1 from run l indexed by run_awaiting
    where l.state = 2 and l.awaits is not null and l.awaits > :target and l.awaits < :end
);

-- name: reopen
update shared set open = :open where run_id = :target;

-- name: replayed
update shared set open = 1 where run_id in (select unhex(value) from json_each(:ids));

-- name: any_shared
select exists (select 1 from shared);

-- name: telling
select hex(run_id) from shared where open = 2 limit 1;
