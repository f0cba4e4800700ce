-- The whole state of the system. Times are integer microseconds since the epoch; JSON is text that SQL looks into only
-- where metadata is searched. The numbers of states, kinds and causes are those of model/states.py; a test compares them.

create table run (
    id               blob    not null primary key,  -- uuid7
    parent_id        blob,
    root_id          blob    not null,
    depth            integer not null,
    kind             integer not null default 0,
    task             text    not null,
    identity         blob,                          -- who this child is, below its parent: a hash of key or content
    child_index      integer,                       -- how many children its parent's attempt had spawned before it
    child_key        text,                          -- the key that the caller gave, if any
    input_digest     blob,                          -- beside child_key: task and input, to tell a key's misuse
    input            text    not null,
    metadata         text,
    priority         integer not null,
    on_parent_end    integer not null,
    state            integer not null check (state between 0 and 2 or state between 8 and 10),  -- (a list costs each write)
    waits            integer,                       -- WAITING: for what
    due_at           integer,                       -- WAITING: until when, at most
    attempt          integer not null,              -- counts claims; the fence
    trial_start      integer not null default 0,    -- the attempt with which the present trial began
    retry_count      integer not null default 0,    -- counts failures charged in this trial's life
    deaths           integer not null default 0,    -- workers in a row that died while executing it
    asked            integer not null,              -- the parent's attempt that asked for it last; of a root: the
                                                    -- program that it belongs to, and its version (sdk/declaring/origins.py)
    worker_id        integer,
    deadline         integer,
    deadline_by      blob,
    schedule_timeout integer,
    expires_at       integer,                       -- not begun, but not after
    created_at       integer not null,
    started_at       integer,
    finished_at      integer,
    busy             integer not null default 0,    -- microseconds with a slot, of the attempts that reported
    ended_by         integer,
    output           text,
    error            text,
    limit_at         integer,                       -- the deadline of those below that have theirs from this run, if it
                                                    -- moved since they were spawned
    awaits           blob,                          -- of a wait for events: by what it is found (model/matching.py);
                                                    -- of a link to a shared run: that (store/sharing.py); of
                                                    -- a hedge: its first
    life             text,                          -- of a run that has started over (model/lives.py), or is
                                                   -- in a fork (model/forks.py)
    budget           blob,                          -- whose it uses: its own, or that of the nearest above it with one
    check ((state >= 8) = (finished_at is not null)),
    check ((state = 2) = (waits is not null)),
    check (state = 2 or due_at is null)
) strict, without rowid;

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
create index run_expiring on run (expires_at, id) where state in (0, 2) and expires_at is not null;

create index run_awaiting on run (awaits) where state = 2 and awaits is not null;

-- Listings: roots, newest first; roots that have begun, by task, and by state but for COMPLETED. (Those that are queued stand
-- in the queue, and nothing more is written of them when they are born: decision 0049.)
create index run_root on run (created_at, id) where parent_id is null;
create index run_root_task on run (task, id) where parent_id is null and state <> 0;
create index run_root_state on run (state, created_at, id) where parent_id is null and state <> 0 and state <> 8;

-- Failures, of a tree and of a day. (Not what was cancelled: that may be a million at once.)
create index run_failed on run (root_id, id) where state = 9;
create index run_failed_at on run (finished_at, id) where state = 9;

create table worker (
    id         integer primary key autoincrement,
    name       text    not null,
    host       text    not null,
    pid        integer not null,
    slots      integer not null,
    started_at integer not null,
    lease      integer not null,                    -- microseconds
    own        integer not null default 0           -- it serves no roots of other programs
) strict;

-- Apart from its worker: whoever renews it waits for nothing. Without a lease a worker is dead, and being reaped.
create table lease (
    worker_id  integer not null primary key,
    expires_at integer not null
) strict;

create table worker_task (
    task      text    not null,
    worker_id integer not null,
    primary key (task, worker_id)
) strict, without rowid;

create table task (
    name             text not null primary key,
    kind             text not null,
    description      text not null,
    priority         integer not null,
    schedule_timeout integer,
    metadata         text,
    schema           text,
    version          integer not null default 0,    -- of the code of who published it (sdk/declaring/origins.py)
    updated_at       integer not null
) strict, without rowid;

-- "What is below this run is closed (what = 1), because ...": a run that ended leaves one row, however many are below
-- it. Looked at by spawns, claims and requeues of its tree; the row goes when all of that has ended ("sweep"). Empty in
-- the common case. what = 3: the tree of this root is being deleted.
create table gate (
    run_id  blob    not null primary key,
    root_id blob    not null,
    what    integer not null check (what in (1, 3)),
    which   integer not null,                       -- children asked for by `attempt` or before: 0 all; 1 those that end
                                                    -- with their parent, or were asked for before `attempt` only
    attempt integer not null,
    error   text    not null,                       -- of those that end
    made_at integer not null,
    since   integer,                                -- if it took the place of one whose sweep was not over: when that
                                                    -- was made. Below what ended since, with the parent, all ends
    pass    blob,                                   -- the gate whose sweep covers this one
    phase   integer not null default 0,             -- of the sweep that this gate leads: how far it is
    place   text
) strict, without rowid;
create index gate_root on gate (root_id);
create index gate_made on gate (made_at, run_id) where what = 1;

-- Runs that are paused, with all below them: nothing of that begins. Looked at by births and claims of its tree. Once it is
-- resumed the row stays until what waited for that is queued again: how far that is says `place`. Empty in the common case.
create table pause (
    run_id     blob    not null primary key,
    root_id    blob    not null,
    made_at    integer not null,
    asked_by   text    not null,
    resumed_at integer,
    place      blob                                 -- of what waits in the tree: the last run that was looked at
) strict, without rowid;
create index pause_root on pause (root_id, resumed_at);
create index pause_resumed on pause (resumed_at);

-- Runs that were given another priority, with all below them. Births of its tree look at it; of several above a run the last
-- one counts. What lived at that time hears of it by and by: how far that is says `place`. Empty in the common case.
create table urgency (
    run_id   blob    not null primary key,
    root_id  blob    not null,
    priority integer not null,
    made_at  integer not null,                      -- later than those before it in its tree
    asked_by text    not null,
    place    blob                                   -- parent and id of the last one that heard of it; null: all have
) strict, without rowid;
create index urgency_root on urgency (root_id);
create index urgency_open on urgency (made_at, run_id) where place is not null;

-- Trees in which a deadline moved (run.limit_at), and those below have to be told. Empty in the common case.
create table moved_deadline (
    root_id blob    not null primary key,
    made_at integer not null,
    again   integer not null default 0,             -- it moved once more, since the pass began
    phase   integer not null default 1,
    place   text
) strict, without rowid;
create index moved_deadline_made on moved_deadline (made_at, root_id);

-- Workers that have not heard yet of what a call has closed.
create table unheard (
    worker_id integer not null,
    run_id    blob    not null,
    primary key (worker_id, run_id)
) strict, without rowid;
create index unheard_run on unheard (run_id);

-- Who holds an idempotency key. Only roots have them.
create table idem (
    namespace  text not null,
    key        text not null,
    run_id     blob not null,
    digest     blob not null,                       -- task and input, to tell a key's misuse
    expires_at integer,                             -- held so long; null: for as long as the run is there
    primary key (namespace, key)
) strict, without rowid;
create unique index idem_run on idem (run_id);

-- Runs whose code was unloaded as it waits (WAITING for children), and what is known of that, to their ends. Empty in the
-- common case.
create table suspended (
    run_id  blob    not null primary key,
    attempt integer not null,                       -- that was suspended last
    wakes   integer not null,                       -- how often it was
    pending text,                                   -- whose ends its code had not been given, then
    missing integer not null,                       -- so many more ends of those that it waits for
    until   integer                                 -- the limit of that attempt
) strict, without rowid;

-- Whose ends are counted for it, and what each means (`Awaited` in model/states.py): only living ones, and only while it
-- is suspended.
create table awaited (
    run_id    blob    not null,
    waiter_id blob    not null,
    weight    integer not null,
    primary key (run_id, waiter_id)
) strict, without rowid;
create index awaited_waiter on awaited (waiter_id, run_id);

-- Large trees: for how many runs of each engines have taken room so far, a block at a time. Nothing for small ones.
create table tree (
    root_id blob    not null primary key,
    runs    integer not null
) strict, without rowid;

-- Roots that were made from other runs (model/forks.py), which are not deleted before these have ended.
create table fork (
    root_id     blob    not null primary key,
    origin_id   blob    not null,
    origin_root blob    not null,
    at_id       blob,                              -- the run from which on nothing is taken
    changed     integer not null,                  -- 1: `at_id` has another input, or the root if that is null
    made_at     integer not null,
    asked_by    text    not null
) strict, without rowid;
create index fork_origin on fork (origin_id);
create index fork_origin_root on fork (origin_root);

-- Runs that several calls of a tree share, by their roots and a digest of task and input. `open`: 1 it lives, 2 it has
-- ended and not all calls were told, 0 it is over. A call's link to it is a run of its own (kind 15), with the two ids in
-- `awaits`.
create table shared (
    root_id blob    not null,
    digest  blob    not null,
    run_id  blob    not null,
    open    integer not null,
    primary key (root_id, digest)
) strict, without rowid;
create unique index shared_run on shared (run_id);
create index shared_open on shared (open) where open > 0;

-- Runs that are to help others which take too long, and live. Empty in the common case.
create table hedge (
    run_id    blob not null primary key,
    target_id blob not null
) strict, without rowid;
create index hedge_target on hedge (target_id);

-- What runs and all below them may use (model/budgets.py). Nothing for trees without budgets.
create table budget (
    run_id  blob    not null,                       -- to whom it was given
    unit    text    not null,
    source  blob    not null,                       -- whose row counts: its own, or that of somebody above
    root_id blob    not null,
    parent  blob,                                   -- of a part: whose it is a part of
    size    integer not null,                       -- as it was given
    amount  integer not null,                       -- with what was used before, if it was given more than once
    used    integer not null,
    held    integer not null,                       -- in parts of others, and reserved
    base    integer not null,                       -- used before it was given last
    open    integer not null,                       -- 0: its owner has ended
    primary key (run_id, unit)
) strict, without rowid;
create index budget_root on budget (root_id);

-- What each run has spent, or holds (held = 1). What is counted of a run itself has 16 zeros for an id.
create table spend (
    run_id  blob    not null,
    id      blob    not null,
    unit    text    not null,
    root_id blob    not null,
    source  blob,                                   -- of whose budget; null: of nobody's
    attempt integer not null,
    amount  integer not null,
    held    integer not null,
    primary key (run_id, id, unit)
) strict, without rowid;
create index spend_root on spend (root_id);
create index spend_held on spend (run_id) where held = 1;

-- Who wants to hear of a run's end, beside the worker of its parent.
create table watch (
    run_id    blob    not null,
    worker_id integer not null,
    primary key (run_id, worker_id)
) strict, without rowid;
create index watch_worker on watch (worker_id, run_id);

-- "Something happened to this run; look." Written in the transaction in which it happened.
create table mail (
    worker_id integer not null,
    run_id    blob    not null,
    primary key (worker_id, run_id)
) strict, without rowid;

create table log (
    run_id  blob    not null,
    seq     integer not null,                       -- counts within the run; -1: its progress
    attempt integer not null,
    at      integer not null,
    level   text    not null,
    message text    not null,
    primary key (run_id, seq)
) strict, without rowid;

-- Attempts that are over, and after which their runs went on: failed and retried, lost, or replayed. Nothing for runs that
-- succeed at first. What the last attempt came to stands in the run's row.
create table attempt (
    run_id      blob    not null,
    number      integer not null,
    worker_id   integer,
    worker      text,                               -- its name
    state       integer not null,                   -- as it ended
    started_at  integer,
    finished_at integer not null,
    due_at      integer not null,                   -- from when on the next one could begin
    error       text,                               -- null: its worker was lost
    primary key (run_id, number)
) strict, without rowid;

-- What has happened. `open`: not all waits that it may end were looked at yet.
create table event (
    id       text    not null primary key,
    number   integer not null,                      -- of one row with the numbers of waits
    key      text    not null,
    scope    text,
    payload  text    not null,
    metadata text,
    at       integer not null,
    open     integer not null,
    digest   blob    not null                       -- of key, scope and payload, to tell an id's misuse
) strict, without rowid;
create unique index event_number on event (number);
create index event_key on event (key, number);
create index event_open on event (number) where open = 1;

-- Sent to a run, and not received yet. By their names, so that who waits for one is not kept by a hundred thousand of another.
create table message (
    run_id   blob    not null,
    name     text    not null,
    number   integer not null,                      -- of one row with those of waits and events
    envelope text    not null,                      -- what the receive will have for its output
    once     blob,                                  -- of one that is sent once: under what (it stays then)
    primary key (run_id, name, number)
) strict, without rowid;
create unique index message_once on message (run_id, once) where once is not null;

-- What runs say of themselves (ctx.publish), for who asks.
create table value (
    run_id blob not null,
    key    text not null,
    value  text not null,
    primary key (run_id, key)
) strict, without rowid;

-- Numbers and texts of the whole store. `members` counts changes of workers and of what they serve.
create table setting (
    name  text not null primary key,
    value text not null
) strict, without rowid;
insert into setting (name, value) values
    ('members', '0'),
    ('number', '0'),
    -- What tokens of promises are made with.
    ('secret', lower(hex(randomblob(32))));
