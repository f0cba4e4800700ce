-- What is closed: which runs are below something that is over, and how that is written down.

-- Whether a gate covers a child that was asked for by the attempt `asked` of its parent. If that completed: of the children
-- that end with it, and of those that it never asked for again, only what lived then; and what was ended by the gate as that
-- was made, or by one in whose place it is, since below that not all was swept. (`ended`: when the child did, and `ended_by`
-- what.)
create function fw_covers(g gate, asked integer, policy smallint, ended bigint, ended_by smallint) returns boolean
language sql immutable
as $$
    select case
        when g.which = 0 then asked <= g.attempt
        else coalesce(ended_by = 3 and ended >= coalesce(g.since, g.made_at), false) or (
            policy <> 3 and (asked < g.attempt or (policy = 1 and asked = g.attempt)) and (ended is null or ended > g.made_at)
        )
    end
$$;

-- Which of these runs are closed, and why: below a run that has a gate, directly or not; `numbers` are theirs, from 1. Only
-- in trees in which there is a gate: in the common case there is none, and one look. Of all ancestors each is looked at
-- once, upward; whether it is shut itself is found from the top down; and each run has its parent's answer. (Whatever is
-- read of a table is `lateral`; all else is hashed, however few the planner expects.) Of those that have ended: which would
-- end if they were replayed now; or, if they stay as they are (p_stay), only those that had not ended before. p_places:
-- where they stand, if the caller has locked them.
create function fw_closed(
    p_ids bytea[], p_places tid[] default null, p_stay boolean default false,
    out ids bytea[], out reasons text[], out numbers integer[]
) language plpgsql
set enable_seqscan = off set enable_nestloop = off set enable_mergejoin = off set enable_hashjoin = on
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
begin
    ids := '{}'; reasons := '{}'; numbers := '{}';
    if cardinality(p_ids) = 0 or not exists (select from gate g where g.what = 1) then
        return;
    end if;
    with recursive
    asked_for as materialized (
        select r.id, r.parent_id, r.root_id, r.asked, r.on_parent_end, r.finished_at, r.ended_by, v.n
        from unnest(case when p_places is null then p_ids end) with ordinality v (id, n)
        cross join lateral (
            select c.id, c.parent_id, c.root_id, c.asked, c.on_parent_end, c.finished_at, c.ended_by
            from run c where c.id = v.id and c.parent_id is not null and c.on_parent_end <> 2 offset 0
        ) r
        union all
        select r.id, r.parent_id, r.root_id, r.asked, r.on_parent_end, r.finished_at, r.ended_by, v.n
        from unnest(p_places) with ordinality v (place, n)
        cross join lateral (
            select c.id, c.parent_id, c.root_id, c.asked, c.on_parent_end, c.finished_at, c.ended_by
            from run c where c.ctid = v.place and c.parent_id is not null and c.on_parent_end <> 2 offset 0
        ) r
    ),
    mine as materialized (
        select a.*
        from (select distinct d.root_id from asked_for d) t
        cross join lateral (select true from gate g where g.root_id = t.root_id and g.what = 1 limit 1) g
        join asked_for a on a.root_id = t.root_id
    ),
    parents as materialized (select distinct m.parent_id as id from mine m),
    above (id, parent_id, reason) as (
        select x.id, x.parent_id, x.reason
        from parents d
        cross join lateral (
            select c.id, c.parent_id, (
                       select g.error from gate g
                       where g.run_id = c.parent_id and g.what = 1
                         and fw_covers(g, c.asked, c.on_parent_end, c.finished_at, c.ended_by)
                   ) as reason
            from run c where c.id = d.id and c.parent_id is not null and c.on_parent_end <> 2 offset 0
        ) x
        union
        select x.id, x.parent_id, x.reason
        from above a
        cross join lateral (
            select c.id, c.parent_id, (
                       select g.error from gate g
                       where g.run_id = c.parent_id and g.what = 1
                         and fw_covers(g, c.asked, c.on_parent_end, c.finished_at, c.ended_by)
                   ) as reason
            from run c where c.id = a.parent_id and c.parent_id is not null and c.on_parent_end <> 2 offset 0
        ) x
        where a.reason is null
    ),
    shut (id, reason) as (
        select a.id, a.reason from above a where a.reason is not null
        union all
        select a.id, s.reason from shut s join above a on a.parent_id = s.id where a.reason is null
    ),
    gates as materialized (
        select g.id, g.itself
        from parents d
        cross join lateral (
            select x.run_id as id, x as itself from gate x where x.run_id = d.id and x.what = 1 offset 0
        ) g
    )
    select coalesce(array_agg(c.id), '{}'), coalesce(array_agg(c.reason), '{}'), coalesce(array_agg(c.n), '{}')
    into ids, reasons, numbers
    from (
        select m.id, m.n::integer, coalesce((g.itself).error, s.reason) as reason
        from mine m
        left join gates g on g.id = m.parent_id and fw_covers(
            g.itself, m.asked, m.on_parent_end, case when p_stay then m.finished_at end, m.ended_by
        )
        left join shut s on s.id = m.parent_id
    ) c
    where c.reason is not null;
end $$;

-- Whether a child of this run, which has not ended, is closed by the gate of that.
create function fw_ends_closed(p_parent bytea, p_asked integer, p_policy smallint) returns boolean language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
begin
    return p_policy <> 2 and coalesce((
        select true from gate g
        where g.run_id = p_parent and g.what = 1 and fw_covers(g, p_asked, p_policy, null, null)
    ), false);
end $$;

-- Whether a run has few children, and all of them have ended; with p_leaves: and have had none themselves; with p_or_failed:
-- or have failed by their own code, which has closed what was below them, or was asked the same.
create function fw_have_ended(p_id bytea, p_root bytea, p_leaves boolean, p_or_failed boolean default false)
returns boolean language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    terminal constant smallint := 8;
    failed constant smallint := 9;
begin
    return (
        select count(*) <= 100 and not coalesce(bool_or(k.state < terminal or (
            p_leaves and not (p_or_failed and k.state = failed and coalesce(k.ended_by, 0) = 1)
            and coalesce((select true from run d where d.root_id = p_root and d.parent_id = k.id limit 1), false)
        )), false)
        from (
            select c.id, c.state, c.ended_by from run c where c.root_id = p_root and c.parent_id = p_id
            order by c.root_id, c.parent_id, c.id limit 101
        ) k
    );
end $$;

-- Close what is below these runs: of those that have children, by one row each. (Of few that have all ended none would end
-- with a parent that completes; nor, if nothing can live below those, with one that fails: p_own, by its own code.)
create function fw_close(
    p_now bigint, p_ids bytea[], p_which smallint[], p_closing text[], p_own boolean default false
) returns boolean language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
begin
    insert into gate (run_id, root_id, what, which, attempt, error, made_at)
    select r.id, r.root_id, 1, v.which, r.attempt, v.closing, p_now
    from unnest(p_ids, p_which, p_closing) v (id, which, closing)
    cross join lateral (select x.id, x.root_id, x.attempt from run x where x.id = v.id offset 0) r
    where v.which is not null
      and (select true from run c where c.root_id = r.root_id and c.parent_id = r.id limit 1)
      and not ((v.which = 1 or p_own) and fw_have_ended(r.id, r.root_id, v.which = 0, v.which = 0))
    order by r.id
    on conflict (run_id) do update
    set which = excluded.which, attempt = excluded.attempt, error = excluded.error, made_at = excluded.made_at,
        since = coalesce(gate.since, gate.made_at), pass = null, phase = 0, place = null
    where gate.what = 1;
    return found;
end $$;
