-- The hot path, and what else must be safe against it, as functions: each does its part of a whole batch, set by set,
-- and `fw_commit` (09_commit.sql) calls those that a batch needs: one statement, one round trip, one transaction. So a
-- client that freezes or loses its connection holds no lock.
--
-- This folder is one *layer*. On applying it `fw_` becomes `fw1_`: the number of the layer. The layer of the version
-- before stays, and its workers go on calling it. A released layer is changed by giving it the next number.
--
-- All of it runs at READ COMMITTED, where every statement in these functions sees what was committed before it began.
-- What must not be missed is therefore locked before it is looked at: a parent that spawns (`fw_fence`), a run that
-- somebody begins to wait for (`fw_watch`), a worker that commits (`fw_commit`). Each comment says against whom.
--
-- Plans are the same on an empty table and on a hundred million rows, because statistics are always late in a queue,
-- and each plan is made once in a session: the planner is kept from reading whole tables (`enable_seqscan = off`). It
-- must not walk through a whole index either, which it might where the rows are proved to be in a partial one, or where
-- that saves a sorting. So where a row is found by its id, its state is compared with a variable (`running`, `queued`)
-- and not with a constant; and where rows are locked in order, or children are looked for, it is row by row: a `lateral`
-- that can't be turned into a join, because it locks, or has a limit or an offset. Where all columns of an index but the
-- last, the id, are given, and some rows are wanted in the order of that, one is given as a range (`between x and x`): else
-- the planner sees that the primary key has that order as well, and may walk through all of it. tests/postgres/test_plans.py looks.
--
-- Names: no function trusts its caller's search_path. Those that Python calls directly have their own; it ends in
-- pg_temp, so that nobody's temporary table `run` is taken for ours.

create function fw_micros() returns bigint language sql stable
as $$ select (extract(epoch from statement_timestamp()) * 1000000)::bigint $$;

-- The parts of a batch. Each field is a column of it: the n-th entries of all fields belong together.
create type fw_owners as (id bytea[], attempt integer[]);             -- attempts that spawn, or whose limit moved
create type fw_kinds as (                                             -- what the children of one call have in common
    owner integer[],                                                  -- number among the owners, from 1; 0: a root; below: of the program -owner
    root bytea[], depth integer[], task text[], priority integer[], metadata text[], schedule_timeout bigint[],
    deadline bigint[], deadline_by bytea[], on_parent_end smallint[], kind smallint[], namespace text[]
);
create type fw_spawns as (                                            -- runs to be born
    kind integer[],                                                   -- number among the kinds, from 1
    id bytea[], identity bytea[], index integer[], key text[], digest bytea[], input text[], claimed boolean[]
);
create type fw_attaches as (                                          -- children of earlier attempts, asked for again
    kind integer[], id bytea[], digest bytea[]
);
create type fw_logs as (run bytea[], attempt integer[], at bigint[], level text[], message text[]);
create type fw_ends as (                                              -- runs that end
    id bytea[],
    attempt integer[],                                                -- the fence; null: whatever it does at present
    state smallint[], output text[], error text[], ended_by smallint[], busy bigint[],
    local boolean[],                                                  -- its parent runs on the worker that says so
    which smallint[],                                                 -- the gate for what is below it, if there may be
    closing text[]                                                    -- anything; and the error of what ends with it
);
create type fw_entries as (                                           -- runs that go (back) to the queue
    id bytea[], attempt integer[],                                    -- as above
    delay bigint[], error text[], busy bigint[],
    charged boolean[]                                                 -- a failure, or a death
);

-- At most one notification of each kind: "there is mail for these", "runs of these tasks are ready". A hint, no more.
-- It is let go of where a list is too long to be sent: then it is for everybody.
create function fw_announce(p_told bigint[], p_tasks text[]) returns void language plpgsql
as $$
#variable_conflict error
declare
    whom text;
begin
    if cardinality(p_told) > 0 then
        whom := array_to_string(array(select distinct t from unnest(p_told) t), ',');
        perform pg_notify(current_schema() || '_mail', case when length(whom) < 7000 then whom else '*' end);
    end if;
    if cardinality(p_tasks) > 0 then
        whom := array_to_string(array(select distinct t from unnest(p_tasks) t), chr(10));
        perform pg_notify(current_schema() || '_ready', case when octet_length(whom) < 7000 then whom else '*' end);
    end if;
end $$;

-- Whoever looks at gates, and then changes what is below them, says so first, until his transaction ends: who has made a
-- gate waits for those who may not have seen it (`gates.py`). Nobody ever takes this lock for himself alone.
create function fw_enter_gates() returns void language sql
as $$ select pg_advisory_xact_lock_shared(1178687812, hashtext(current_schema())) $$;

-- Whoever may tell all workers something says so before he locks any run, until his transaction ends; and a worker is
-- there only with a transaction that holds this alone at its end. So who registers meanwhile is either told, or sees what
-- was changed in all that it does: else it could claim what is closed, before that is committed, and not hear.
create function fw_tell_workers() returns void language sql
as $$ select pg_advisory_xact_lock_shared(1178687815, hashtext(current_schema())) $$;

create function fw_admit() returns void language sql
as $$ select pg_advisory_xact_lock(1178687815, hashtext(current_schema())) $$;
