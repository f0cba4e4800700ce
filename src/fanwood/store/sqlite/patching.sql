-- Outputs by hand (patching.py).

-- name: before_patch
select json_array(r.state, r.attempt, coalesce(r.output, r.error), hex(r.parent_id),
    coalesce((select p.state < 8 from run p where p.id = r.parent_id), 0))
from run r where r.id = :id;

-- name: patch_ended
update run set state = 8, output = :output, error = null, ended_by = 6 where id = :id and state >= 8;

-- name: note_patch
insert into log (run_id, seq, attempt, at, level, message)
select :id, coalesce((select max(seq) + 1 from log where run_id = :id and seq >= 0 and seq < 1073741824), 0), attempt,
       :now, 'info', :message
from run where id = :id;
