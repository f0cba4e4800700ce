-- A run's limit moved: with it move the deadlines that its subtree has from it.

-- name: move_deadline
with recursive below (id) as (
    select c.id from run p cross join run c on c.root_id = p.root_id and c.parent_id = p.id
    where p.id = :owner and c.deadline_by = :owner
    union all
    select c.id from below b cross join run p on p.id = b.id cross join run c on c.root_id = p.root_id and c.parent_id = p.id
    where c.deadline_by = :owner
)
update run
set deadline = :deadline,
    expires_at = case
        when state not in (0, 2) or (expires_at < deadline and expires_at < :deadline) then expires_at  -- its schedule timeout
        else :deadline
    end
where state < 8 and id in (select id from below);

-- name: move_mail
with recursive below (id) as (
    select c.id from run p cross join run c on c.root_id = p.root_id and c.parent_id = p.id
    where p.id = :owner and c.deadline_by = :owner
    union all
    select c.id from below b cross join run p on p.id = b.id cross join run c on c.root_id = p.root_id and c.parent_id = p.id
    where c.deadline_by = :owner
)
insert into mail (worker_id, run_id)
select r.worker_id, r.id from below b join run r on r.id = b.id join worker w on w.id = r.worker_id
where r.state = 1
on conflict do nothing;
