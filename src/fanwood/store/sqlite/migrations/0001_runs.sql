-- The whole state of the system. Times are integer microseconds since the epoch; JSON is text that SQL never looks into.

create table run (
    id               blob    not null primary key,  -- uuid7
    parent_id        blob,
    root_id          blob    not null,
    depth            integer not null,
    task             text    not null,
    identity         blob,                          -- who this child is, below its parent: a hash of key or content
    child_index      integer,                       -- how many children its parent's attempt had spawned before it
    child_key        text,                          -- the key that the caller gave, if any
    input_digest     blob,                          -- beside child_key: task and input, to tell a key's misuse
    input            text    not null,
    metadata         text,
    priority         integer not null,
    on_parent_end    integer not null,
    state            integer not null check (state between 0 and 4),
    run_at           integer,                       -- QUEUED, but not before
    attempt          integer not null,              -- counts claims; the fence
    trial_start      integer not null default 0,    -- the attempt with which the present trial began
    retry_count      integer not null default 0,    -- counts failures charged in this trial's life
    deaths           integer not null default 0,    -- workers in a row that died while executing it
    asked            integer not null,              -- the parent's attempt that asked for it last
    worker_id        integer,
    deadline         integer,
    deadline_by      blob,
    schedule_timeout integer,
    expires_at       integer,                       -- QUEUED, but not after
    created_at       integer not null,
    started_at       integer,
    finished_at      integer,
    output           text,
    error            text,
    check ((state >= 2) = (finished_at is not null))
) without rowid;

-- Below a parent: trees, cancellation, and a resumed parent's children. A child's identity needs no index: only one
-- attempt of a parent can spawn at a time (the fence), and it knows the identities of its children.
create index run_parent on run (parent_id, id) where parent_id is not null;

-- The queue. One descent per task finds the next run.
create index run_ready on run (task, priority desc, depth desc, id) where state = 0 and run_at is null;

-- Roots, newest first, for listings.
create index run_root on run (created_at, id) where parent_id is null;

-- Small, because few runs are in these states at a time.
create index run_delayed on run (run_at) where state = 0 and run_at is not null;
create index run_expiring on run (expires_at) where state = 0 and expires_at is not null;
create index run_running on run (worker_id, id) where state = 1;

create table worker (
    id               integer primary key autoincrement,
    name             text    not null,
    host             text    not null,
    pid              integer not null,
    slots            integer not null,
    started_at       integer not null,
    lease            integer not null,              -- microseconds
    lease_expires_at integer not null
);

create table worker_task (
    task      text    not null,
    worker_id integer not null,
    primary key (task, worker_id)
) without rowid;

create table task (
    name             text not null primary key,
    kind             text not null,
    description      text not null,
    priority         integer not null,
    schedule_timeout integer,
    metadata         text,
    schema           text,
    updated_at       integer not null
) without rowid;

-- Who wants to hear of a run's end, beside the worker of its parent.
create table watch (
    run_id    blob    not null,
    worker_id integer not null,
    primary key (run_id, worker_id)
) without rowid;
create index watch_worker on watch (worker_id, run_id);

-- "Something happened to this run; look." Written in the transaction in which it happened.
create table mail (
    worker_id integer not null,
    run_id    blob    not null,
    primary key (worker_id, run_id)
) without rowid;

create table log (
    run_id  blob    not null,
    seq     integer not null,                       -- counts within the run
    attempt integer not null,
    at      integer not null,
    level   text    not null,
    message text    not null,
    primary key (run_id, seq)
) without rowid;
