-- The whole state of the system: the tables of the SQLite store, with PostgreSQL's types, and columns of a fixed width
-- first. Times are integer microseconds since the epoch; JSON is text that SQL looks into only where metadata is
-- searched. Names compare by their bytes (collation "C"), so that order doesn't depend on the server's locale. The
-- numbers of states, kinds and causes are those of model/states.py; a test compares them.

create table run (
    created_at       bigint   not null,
    started_at       bigint,
    finished_at      bigint,
    expires_at       bigint,                          -- not begun, but not after
    due_at           bigint,                          -- WAITING: until when, at most
    deadline         bigint,
    schedule_timeout bigint,
    limit_at         bigint,                          -- the deadline of those below that have theirs from this run, if
                                                      -- it moved since they were spawned
    busy             bigint   not null default 0,     -- microseconds with a slot, of the attempts that reported
    worker_id        bigint,
    depth            integer  not null,
    child_index      integer,                         -- how many children its parent's attempt had spawned before it
    priority         integer  not null,
    attempt          integer  not null,               -- counts claims; the fence
    trial_start      integer  not null default 0,     -- the attempt with which the present trial began
    retry_count      integer  not null default 0,     -- counts failures charged in this trial's life
    deaths           integer  not null default 0,     -- workers in a row that died while executing it
    asked            integer  not null,               -- the parent's attempt that asked for it last
    state            smallint not null,
    waits            smallint,                        -- WAITING: for what
    kind             smallint not null default 0,
    on_parent_end    smallint not null,
    ended_by         smallint,
    id               bytea    not null primary key,   -- uuid7
    parent_id        bytea,
    root_id          bytea    not null,
    task             text collate "C" not null,
    identity         bytea,                           -- who this child is, below its parent: a hash of key or content
    child_key        text,                            -- the key that the caller gave, if any
    input_digest     bytea,                           -- beside child_key: task and input, to tell a key's misuse
    deadline_by      bytea,
    input            text     not null,
    metadata         text,
    output           text,
    error            text,
    awaits           bytea,                           -- of a wait for events: by what it is found (model/matching.py);
                                                      -- of a link to a shared run: that (store/sharing.py); of a
                                                      -- hedge: its first
    life             text,                            -- of a run that has started over (model/lives.py), or is
                                                      -- in a fork (model/forks.py)
    budget           bytea,                           -- whose it uses: its own, or that of the nearest above it with one
    -- One, and short: the server reads and compiles every check anew in each statement that writes a run, which costs
    -- more than to insert the row. (That states are those of model/states.py, and what goes with WAITING, is held by tests.)
    check ((state >= 8) = (finished_at is not null))
) with (
    -- Rows are written two or three times in their short life: look after them before there are millions of dead ones.
    -- And quickly: a vacuum that is slowed down takes half a minute, while more is dying.
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_vacuum_insert_scale_factor = 0.2, autovacuum_analyze_scale_factor = 0.1
);

-- A tree is one range, and so are the children of a run. A child's identity needs no index: only one attempt of a
-- parent can spawn at a time (the fence), and it knows the identities of its children.
create index run_tree on run (root_id, parent_id, id) where parent_id is not null;

-- The queue. One descent per task finds the next run. The root stands before the depth: trees take turns or go one after
-- another, and within one the deeper runs go first.
create index run_ready on run (task, priority desc, root_id, depth desc, id) where state = 0;

-- What else has not ended: under a worker, and in nobody's hands. No index of all runs contains the state.
create index run_running on run (worker_id, id) where state = 1;
create index run_waiting on run (root_id, id) where state = 2;
create index run_due on run (due_at, id) where state = 2 and due_at is not null;
create index run_awaiting on run (awaits) where state = 2 and awaits is not null;
create index run_expiring on run (expires_at, id) where state in (0, 2) and expires_at is not null;

-- Listings: roots, newest first; roots that have begun, by task, and by state but for COMPLETED (those that are queued stand in
-- the queue, and nothing more is written of them when they are born: decision 0049); roots by their metadata, as far as jsonb
-- can hold it (no NUL, no half of a surrogate pair, no number without measure). What it can't is kept all the same.
create index run_root on run (created_at, id) where parent_id is null;
create index run_root_task on run (task, id) where parent_id is null and state <> 0;
create index run_root_state on run (state, created_at, id) where parent_id is null and state <> 0 and state <> 8;
create index run_metadata on run using gin ((metadata::jsonb) jsonb_path_ops)
    where parent_id is null and metadata ~ '^{' and metadata !~ '\\u(0000|[dD][89abAB])|[0-9]{250}|(:|,|\[)\s*-?[0-9.]+[eE][+]?[0-9]{4,}\s*(,|\]|\})';

-- Failures, of a tree and of a day. (Not what was cancelled: that may be a million at once.)
create index run_failed on run (root_id, id) where state = 9;
create index run_failed_at on run (finished_at, id) where state = 9;

create table worker (
    id               bigint    not null generated by default as identity primary key,
    started_at       bigint    not null,
    lease            bigint    not null,              -- microseconds
    -- Its last commit, so that one whose answer was lost is not done twice (functions/commit.sql).
    seq              bigint    not null default 0,
    claimed_at       bigint    not null default 0,    -- started_at of what it took last
    pid              integer   not null,
    slots            integer   not null,
    has_claimed      boolean   not null default false,
    name             text      not null,
    host             text      not null,
    programs         integer[] not null default '{}', -- it serves no roots of others than these; none: of all
    fenced           integer[] not null default '{}',
    refused          integer[] not null default '{}',
    not_queued       integer[] not null default '{}'
) with (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Apart from its worker: whoever renews it waits for nothing. Without a lease a worker is dead, and being reaped.
create table lease (
    worker_id  bigint not null primary key,
    expires_at bigint not null
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

create table worker_task (
    task      text collate "C" not null,
    worker_id bigint not null,
    primary key (task, worker_id)
);
create index worker_task_worker on worker_task (worker_id);

create table task (
    name             text collate "C" not null primary key,
    kind             text    not null,
    description      text    not null,
    priority         integer not null,
    version          integer not null default 0,      -- of the code of who published it (sdk/declaring/origins.py)
    schedule_timeout bigint,
    metadata         text,
    schema           text,
    updated_at       bigint  not null
);

-- "What is below this run is closed (what = 1), because ...": a run that ended leaves one row, however many are below
-- it. Looked at by spawns, claims and requeues of its tree; the row goes when all of that has ended ("sweep"). Empty in
-- the common case. what = 3: the tree of this root is being deleted.
create table gate (
    made_at bigint   not null,
    attempt integer  not null,
    what    smallint not null check (what in (1, 3)),
    which   smallint not null,                        -- children asked for by `attempt` or before: 0 all; 1 those that
                                                      -- end with their parent, or were asked for before `attempt` only
    phase   smallint not null default 0,              -- of the sweep that this gate leads: how far it is
    since   bigint,                                   -- if it took the place of one whose sweep was not over: when that
                                                      -- was made. Below what ended since, with the parent, all ends
    run_id  bytea    not null primary key,
    root_id bytea    not null,
    pass    bytea,                                    -- the gate whose sweep covers this one
    error   text     not null,                        -- of those that end
    place   text
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
create index gate_root on gate (root_id);
create index gate_made on gate (made_at, run_id) where what = 1;

-- Runs that are paused, with all below them: nothing of that begins. Looked at by births and claims of its tree. Once it is
-- resumed the row stays until what waited for that is queued again: how far that is says `place`. Empty in the common case.
create table pause (
    made_at    bigint   not null,
    resumed_at bigint,
    run_id     bytea    not null primary key,
    root_id    bytea    not null,
    asked_by   text     not null,
    place      bytea                                  -- of what waits in the tree: the last run that was looked at
);
create index pause_root on pause (root_id, resumed_at, run_id);
create index pause_resumed on pause (resumed_at, run_id);

-- Runs that were given another priority, with all below them. Births of its tree look at it; of several above a run the last
-- one counts. What lived at that time hears of it by and by: how far that is says `place`. Empty in the common case.
create table urgency (
    made_at  bigint  not null,                        -- later than those before it in its tree
    priority integer not null,
    run_id   bytea   not null primary key,
    root_id  bytea   not null,
    asked_by text    not null,
    place    bytea                                    -- parent and id of the last one that heard of it; null: all have
);
create index urgency_root on urgency (root_id);
create index urgency_open on urgency (made_at, run_id) where place is not null;

-- Trees in which a deadline moved (run.limit_at), and those below have to be told. Empty in the common case.
create table moved_deadline (
    made_at bigint   not null,
    phase   smallint not null default 1,
    again   boolean  not null default false,          -- it moved once more, since the pass began
    root_id bytea    not null primary key,
    place   text
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
create index moved_deadline_made on moved_deadline (made_at, root_id);

-- Workers that have not heard yet of what a call has closed.
create table unheard (
    worker_id bigint not null,
    run_id    bytea  not null,
    primary key (worker_id, run_id)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
create index unheard_run on unheard (run_id);

-- Who holds an idempotency key. Only roots have them.
create table idem (
    namespace  text collate "C" not null,
    key        text collate "C" not null,
    run_id     bytea not null,
    digest     bytea not null,                        -- task and input, to tell a key's misuse
    expires_at bigint,                                -- held so long; null: for as long as the run is there
    primary key (namespace, key)
);
create unique index idem_run on idem (run_id);

-- Runs whose code was unloaded as it waits (WAITING for children), and what is known of that, to their ends. Empty in the
-- common case.
create table suspended (
    until   bigint,                                   -- the limit of that attempt
    attempt integer not null,                         -- that was suspended last
    wakes   integer not null,                         -- how often it was
    pending text,                                     -- whose ends its code had not been given, then
    missing integer not null,                         -- so many more ends of those that it waits for
    run_id  bytea   not null primary key
);

-- Whose ends are counted for it, and what each means (`Awaited` in model/states.py): only living ones, and only while it
-- is suspended.
create table awaited (
    weight    smallint not null,
    run_id    bytea    not null,
    waiter_id bytea    not null,
    primary key (run_id, waiter_id)
);
create index awaited_waiter on awaited (waiter_id, run_id);

-- Large trees: for how many runs of each engines have taken room so far, a block at a time. Nothing for small ones.
create table tree (
    runs    bigint not null,
    root_id bytea  not null primary key
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Roots that were made from other runs (model/forks.py), which are not deleted before these have ended.
create table fork (
    made_at     bigint   not null,
    changed     smallint not null,                      -- 1: `at_id` has another input, or the root if that is null
    root_id     bytea    not null primary key,
    origin_id   bytea    not null,
    origin_root bytea    not null,
    at_id       bytea   ,                               -- the run from which on nothing is taken
    asked_by    text not null
);
create index fork_origin on fork (origin_id);
create index fork_origin_root on fork (origin_root);

-- Runs that several calls of a tree share, by their roots and a digest of task and input. `open`: 1 it lives, 2 it has
-- ended and not all calls were told, 0 it is over. A call's link to it is a run of its own (kind 15), with the two ids in
-- `awaits`.
create table shared (
    open    smallint not null,
    root_id bytea    not null,
    digest  bytea    not null,
    run_id  bytea    not null,
    primary key (root_id, digest)
);
create unique index shared_run on shared (run_id);
create index shared_open on shared (open) where open > 0;

-- Runs that are to help others which take too long, and live. Empty in the common case.
create table hedge (
    run_id    bytea not null primary key,
    target_id bytea not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
create index hedge_target on hedge (target_id);

-- What runs and all below them may use (model/budgets.py). Nothing for trees without budgets. Written by commits of all
-- workers, last.
create table budget (
    size    bigint   not null,                        -- as it was given
    amount  bigint   not null,                        -- with what was used before, if it was given more than once
    used    bigint   not null,
    held    bigint   not null,                        -- in parts of others, and reserved
    base    bigint   not null,                        -- used before it was given last
    open    smallint not null,                        -- 0: its owner has ended
    run_id  bytea    not null,                        -- to whom it was given
    unit    text collate "C" not null,
    source  bytea    not null,                        -- whose row counts: its own, or that of somebody above
    root_id bytea    not null,
    parent  bytea,                                    -- of a part: whose it is a part of
    primary key (run_id, unit)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
create index budget_root on budget (root_id);

-- What each run has spent, or holds (held = 1). What is counted of a run itself has 16 zeros for an id.
create table spend (
    amount  bigint   not null,
    attempt integer  not null,
    held    smallint not null,
    run_id  bytea    not null,
    id      bytea    not null,
    unit    text collate "C" not null,
    root_id bytea    not null,
    source  bytea,                                    -- of whose budget; null: of nobody's
    primary key (run_id, id, unit)
);
create index spend_root on spend (root_id);
create index spend_held on spend (run_id) where held = 1;

-- Who wants to hear of a run's end, beside the worker of its parent.
create table watch (
    run_id    bytea  not null,
    worker_id bigint not null,
    primary key (run_id, worker_id)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
create index watch_worker on watch (worker_id, run_id);

-- "Something happened to these runs; look." One letter for each commit and each who must hear of it, written in the
-- transaction in which it happened, taken away by a commit after the one that read it: an answer that was lost takes
-- no letter with it.
create table mail (
    id        bigint  not null generated always as identity,
    worker_id bigint  not null,
    run_ids   bytea[] not null,
    size      bigint  not null,                       -- of their outputs, in bytes
    primary key (worker_id, id)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

create table log (
    run_id  bytea    not null,
    seq     integer  not null,                        -- counts within the run; -1: its progress
    attempt integer  not null,
    at      bigint   not null,
    level   text     not null,
    message text     not null,
    primary key (run_id, seq)
);

-- Attempts that are over, and after which their runs went on: failed and retried, lost, or replayed. Nothing for runs that
-- succeed at first. What the last attempt came to stands in the run's row.
create table attempt (
    started_at  bigint,
    finished_at bigint   not null,
    due_at      bigint   not null,                    -- from when on the next one could begin
    worker_id   bigint,
    number      integer  not null,
    state       smallint not null,                    -- as it ended
    run_id      bytea    not null,
    worker      text,                                 -- its name
    error       text,                                 -- null: its worker was lost
    primary key (run_id, number)
);

-- What has happened. `open`: not all waits that it may end were looked at yet.
create table event (
    number   bigint  not null primary key,            -- of one row with the numbers of waits; drawn under the key's lock
    at       bigint  not null,
    open     smallint not null,
    id       text collate "C" not null unique,
    key      text collate "C" not null,
    scope    text collate "C",
    payload  text    not null,
    metadata text,
    digest   bytea   not null                         -- of key, scope and payload, to tell an id's misuse
);
create index event_key on event (key, number);
create index event_open on event (number) where open = 1;
create sequence event_number;

-- Sent to a run, and not received yet. By their names, so that who waits for one is not kept by a hundred thousand of another.
create table message (
    number   bigint not null,                         -- of one row with those of waits and events
    run_id   bytea  not null,
    name     text collate "C" not null,
    envelope text   not null,                         -- what the receive will have for its output
    once     bytea,                                   -- of one that is sent once: under what (it stays then)
    primary key (run_id, name, number)
);
create unique index message_once on message (run_id, once) where once is not null;

-- What runs say of themselves (ctx.publish), for who asks.
create table value (
    run_id bytea not null,
    key    text collate "C" not null,
    value  text not null,
    primary key (run_id, key)
);

-- Numbers and texts of the whole store. `members` counts changes of workers and of what they serve.
create table setting (
    name  text collate "C" not null primary key,
    value text not null
);
insert into setting (name, value) values
    ('members', '0'),
    -- What tokens of promises are made with.
    ('secret', replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''));
