-- What trees may use: how large they may become, and their budgets (model/budgets.py says what the rows mean, and
-- store/budgets.py does the same for other stores).
--
-- These rows are shared by all workers of a tree, so a commit writes them last. What is refused is therefore found after
-- the inserts: all of the commit is undone, and sent again without it. Who waits for a row has it as it is then: it is
-- locked before it is read.

-- Engines take room for more runs of large trees: [[root, how many], ...]. For how many it was taken in all, as JSON:
-- [[root, how many], ...].
create function fw_take_blocks(p_blocks text) returns text language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    answer text;
begin
    with taken as (
        insert into tree (root_id, runs)
        select r.id, v.runs
        from (
            select decode(x.value ->> 0, 'hex') as id, sum((x.value ->> 1)::bigint)::bigint as runs
            from json_array_elements(p_blocks::json -> 'blocks') x (value)
            group by 1
        ) v
        cross join lateral (select c.id from run c where c.id = v.id offset 0) r
        order by r.id
        on conflict (root_id) do update set runs = tree.runs + excluded.runs
        returning root_id, runs
    )
    select json_agg(json_build_array(encode(t.root_id, 'hex'), t.runs)) into answer from taken t;
    return coalesce(answer, '[]');
end $$;

-- There is not so much: nothing of this transaction is done. [[run, [unit, most, used, wanted, owner, held]], ...]
create function fw_overdrawn(p_refused json[]) returns void language plpgsql
as $$
#variable_conflict error
begin
    raise exception using errcode = 'FWB01', message = array_to_json(p_refused)::text;
end $$;

-- Whose row counts.
create function fw_source(p_budget bytea, p_unit text) returns bytea language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
begin
    return (select b.source from budget b where b.run_id = p_budget and b.unit = p_unit);
end $$;

-- The row that must have room for what is used of another: that itself, or, as long as it is closed, that of its parent.
-- Locked, with those between. (Null: it is gone. Rows that lead back to themselves, as somebody wrote them by hand, end.)
create function fw_open(p_source bytea, p_unit text) returns budget language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    here budget;
    above budget;
    seen bytea[] := '{}';
begin
    select * into here from budget b where b.run_id = p_source and b.unit = p_unit for update;
    while here.open = 0 and here.parent is not null and here.parent <> all (seen) loop
        seen := seen || here.run_id;
        select * into above from budget b where b.run_id = here.parent and b.unit = p_unit for update;
        exit when not found;
        here := above;
    end loop;
    return here;
end $$;

-- Why so much is too much; null: it is not. (Of seconds there must be something left, whatever is asked for.) What is wanted
-- by many together may be more than a bigint holds.
create function fw_too_much(p_source bytea, p_unit text, p_wanted numeric) returns json language plpgsql
as $$
#variable_conflict error
declare
    here budget := fw_open(p_source, p_unit);
begin
    if here.run_id is null or p_wanted = 0 and p_unit <> '~seconds' then
        return null;
    end if;
    if here.used + here.held + greatest(p_wanted, 1) <= here.amount then
        return null;
    end if;
    return json_build_array(
        p_unit, here.amount, here.used + here.held, p_wanted, encode(here.run_id, 'hex'), here.held
    );
end $$;

-- The rows that are to change are locked before any of them is read, in one order for all, as two that each change several
-- would else meet crosswise: from the youngest budget up. Of these budgets these units, each of each; and what the ends of
-- these runs change.
create function fw_lock_limits(p_budgets bytea[], p_units text[], p_ids bytea[]) returns void language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    terminal constant smallint := 8;
begin
    perform from (
        with recursive
        over as materialized (
            select r.id, r.budget, r.state from unnest(p_ids) v (id)
            cross join lateral (select x.* from run x where x.id = v.id and x.budget is not null offset 0) r
        ),
        concerned (run_id, unit) as (
            select b.source, b.unit from (select distinct x.id from unnest(p_budgets) x (id)) v cross join unnest(p_units) u (unit)
            cross join lateral (
                select x.source, x.unit from budget x where x.run_id = v.id and x.unit = u.unit offset 0
            ) b
            union all
            select b.source, b.unit from over o
            cross join lateral (
                select x.source, x.unit from budget x where x.run_id = o.budget and x.unit = '~seconds' offset 0
            ) b
            union all
            select t.source, t.unit from over o
            cross join lateral (
                select x.source, x.unit from spend x where x.run_id = o.id and x.held = 1 and x.source is not null offset 0
            ) t
            union all
            select w.id, b.unit from over o
            cross join lateral (
                select x.parent, x.unit from budget x where x.run_id = o.id and x.source = o.id and x.open = 1 offset 0
            ) b
            cross join lateral (values (o.id), (b.parent)) w (id)
            where o.budget = o.id and o.state >= terminal and w.id is not null
        ),
        all_ (run_id, unit) as (
            select c.run_id, c.unit from concerned c
            union
            select b.parent, b.unit from all_ a
            cross join lateral (
                select x.parent, x.unit from budget x
                where x.run_id = a.run_id and x.unit = a.unit and x.open = 0 and x.parent is not null offset 0
            ) b
        )
        select a.run_id, a.unit from all_ a order by a.run_id desc, a.unit collate "C" offset 0
    ) v
    cross join lateral (select true from budget x where x.run_id = v.run_id and x.unit = v.unit for update) b;
end $$;

create function fw_use(p_source bytea, p_unit text, p_used bigint, p_held bigint) returns void language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    here bytea := p_source;
    open_ smallint;
    above bytea;
    seen bytea[] := '{}';
begin
    while here <> all (seen) loop
        seen := seen || here;
        update budget b set used = b.used + p_used, held = b.held + p_held
        where b.run_id = here and b.unit = p_unit returning b.open, b.parent into open_, above;
        exit when not found or open_ = 1 or above is null;
        here := above;
    end loop;
end $$;

-- For a run itself, and not for what it asked for.
create function fw_count(p_run bytea, p_root bytea, p_source bytea, p_unit text, p_amount bigint) returns void
language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
begin
    perform fw_use(p_source, p_unit, p_amount, 0);
    insert into spend (run_id, id, unit, root_id, source, attempt, amount, held)
    values (p_run, '\x00000000000000000000000000000000', p_unit, p_root, p_source, 0, p_amount, 0)
    on conflict (run_id, id, unit) do update set amount = spend.amount + excluded.amount;
end $$;

-- A child has a part: its rows, of what it was given, and of what its parent's says.
create function fw_give(p_id bytea, p_root bytea, p_depth integer, p_above bytea, p_part json) returns void
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
begin
    insert into budget (run_id, unit, source, root_id, parent, size, amount, used, held, base, open)
    select p_id, v.key, p_id, p_root, case when v.key <> '~depth' then fw_source(p_above, v.key) end, v.value::bigint,
           case when v.key = '~depth' then least(p_depth + v.value::bigint, (
               select b.amount from budget b where b.run_id = p_above and b.unit = '~depth'
           )) else v.value::bigint end, 0, 0, 0, 1
    from json_each_text(p_part) v (key, value);
    insert into budget (run_id, unit, source, root_id, parent, size, amount, used, held, base, open)
    select p_id, b.unit, b.source, p_root, null, 0, case when b.unit = '~depth' then b.amount else 0 end, 0, 0, 0, 1
    from budget b where b.run_id = p_above and p_part -> b.unit is null;
    update run r set budget = p_id where r.id = p_id;
end $$;

-- What the runs that were born take, and their parts; all of one kind, or none. p_above: the budgets that their parents
-- use; p_parts, by the number of the kind.
create function fw_charge(
    p_fenced integer[], o fw_owners, k fw_kinds, s fw_spawns, p_above bytea[], p_parts json
) returns void language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    one record;
    item record;
    above bytea;
    part json;
    deepest budget;
    refusal json;
    refused json[] := '{}';
begin
    for one in
        select v.kind as n, array_agg(v.id order by v.n) as ids, count(*) as births
        from unnest(s.kind, s.id) with ordinality v (kind, id, n)
        where k.owner[v.kind] <> all (p_fenced)
        group by v.kind order by p_above[k.owner[v.kind]], v.kind
    loop
        above := p_above[k.owner[one.n]];
        part := p_parts -> one.n::text;
        refusal := null;
        if above is null and part is null then
            continue;
        end if;
        if above is not null then
            select * into deepest from budget b where b.run_id = above and b.unit = '~depth';
            if k.depth[one.n] > deepest.amount then
                refusal := json_build_array(
                    '~depth', deepest.amount, k.depth[one.n] - 1, 1, encode(deepest.source, 'hex')
                );
            end if;
            for item in
                select v.unit, fw_source(above, v.unit) as source, sum(v.wanted) as wanted
                from (
                    select '~runs' as unit, one.births::numeric as wanted
                    union all select '~seconds', 0
                    union all select p.key, p.value::numeric * one.births
                    from json_each_text(part) p (key, value) where p.key <> '~depth'
                ) v
                group by v.unit order by v.unit collate "C"
            loop
                if refusal is null and item.source is not null then
                    refusal := fw_too_much(item.source, item.unit, item.wanted);
                end if;
            end loop;
        end if;
        if refusal is not null then
            refused := refused || json_build_array(encode(one.ids[1], 'hex'), refusal);
            continue;
        end if;
        if fw_source(above, '~runs') is not null then
            perform fw_count(o.id[k.owner[one.n]], k.root[one.n], fw_source(above, '~runs'), '~runs', one.births);
        end if;
        if part is not null then
            perform fw_use(fw_source(above, p.key), p.key, 0, p.value::bigint * one.births)
            from json_each_text(part) p (key, value)
            where p.key <> '~depth' and fw_source(above, p.key) is not null;
            perform fw_give(r.id, r.root_id, r.depth, above, part)
            from unnest(one.ids) v (id)
            cross join lateral (select x.id, x.root_id, x.depth from run x where x.id = v.id offset 0) r;
        end if;
    end loop;
    if cardinality(refused) > 0 then
        perform fw_overdrawn(refused);
    end if;
end $$;

-- One more is born below this run, at this depth: why not, or null, and then it is paid.
create function fw_take(p_parent bytea, p_root bytea, p_depth integer) returns json language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    above bytea := (select r.budget from run r where r.id = p_parent);
    deepest budget;
    unit_ text;
    source_ bytea;
    refusal json;
begin
    if above is null then
        return null;
    end if;
    select * into deepest from budget b where b.run_id = above and b.unit = '~depth';
    if p_depth > deepest.amount then
        return json_build_array('~depth', deepest.amount, p_depth - 1, 1, encode(deepest.source, 'hex'));
    end if;
    foreach unit_ in array array['~runs', '~seconds'] loop
        source_ := fw_source(above, unit_);
        if source_ is not null and refusal is null then
            refusal := fw_too_much(source_, unit_, case unit_ when '~runs' then 1 else 0 end);
        end if;
    end loop;
    source_ := fw_source(above, '~runs');
    if refusal is null and source_ is not null then
        perform fw_count(p_parent, p_root, source_, '~runs', 1);
    end if;
    return refusal;
end $$;

-- Of what was born beside spawns: links that were the first to what they share, and hedges. There must be room for what is
-- shared; a hedge for which there is none is not born, and its first goes on without one.
create function fw_charge_others(p_links bytea[], p_hedges bytea[]) returns void language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    one record;
    refusal json;
    refused json[] := '{}';
begin
    for one in
        select r.id, r.root_id from unnest(p_links) with ordinality v (id, n)
        cross join lateral (select x.id, x.root_id from run x where x.id = v.id offset 0) r
        order by v.n
    loop
        refusal := fw_take(one.root_id, one.root_id, 1);
        if refusal is not null then
            refused := refused || json_build_array(encode(one.id, 'hex'), refusal);
        end if;
    end loop;
    if cardinality(refused) > 0 then
        perform fw_overdrawn(refused);
    end if;
    for one in
        select r.id, r.parent_id, r.root_id, r.depth from unnest(p_hedges) with ordinality v (id, n)
        cross join lateral (select x.id, x.parent_id, x.root_id, x.depth from run x where x.id = v.id offset 0) r
        order by v.n
    loop
        if fw_take(one.parent_id, one.root_id, one.depth) is not null then
            delete from hedge h where h.run_id = one.id;
            delete from run r where r.id = one.id;
        end if;
    end loop;
end $$;

-- These have left a state, or not, and it is looked at how they stand: what their attempts held is let go of, their
-- seconds are charged, and who has ended gives back what is left of his part. What was done before is not done again. (Whom
-- others hold at this moment they see to: what came too late for him has changed nothing, and he may be run again.)
create function fw_even_out(p_ids bytea[]) returns void language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    running constant smallint := 1;
    terminal constant smallint := 8;
    here record;
    row_ record;
    above bytea;
    more bigint;
begin
    for here in
        select r.id, r.root_id, r.budget, r.state, r.attempt, r.busy
        from (select distinct v.id from unnest(p_ids) v (id)) v
        cross join lateral (
            select x.* from run x where x.id = v.id and x.budget is not null offset 0 for share skip locked
        ) r
        order by r.budget, r.id
    loop
        above := fw_source(here.budget, '~seconds');
        if above is not null then
            more := here.busy - coalesce((
                select t.amount from spend t
                where t.run_id = here.id and t.id = '\x00000000000000000000000000000000' and t.unit = '~seconds'
            ), 0);
            if more > 0 then
                perform fw_count(here.id, here.root_id, above, '~seconds', more);
            end if;
        end if;
        for row_ in
            delete from spend t where t.run_id = here.id and t.held = 1
              and (here.state <> running or t.attempt <> here.attempt)
            returning t.source, t.unit, t.amount
        loop
            perform fw_use(row_.source, row_.unit, 0, -row_.amount);
        end loop;
        if here.state >= terminal and here.budget = here.id then
            for row_ in
                select b.* from budget b where b.run_id = here.id and b.source = b.run_id and b.open = 1
                order by b.unit for update
            loop
                if row_.parent is not null then
                    perform fw_use(row_.parent, row_.unit, row_.used - row_.base,
                                   row_.held - (row_.amount - row_.base));
                end if;
                update budget b set open = 0 where b.run_id = here.id and b.unit = row_.unit;
            end loop;
        end if;
    end loop;
end $$;

-- These are run again: each takes its part anew.
create function fw_take_anew(p_ids bytea[]) returns void language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    terminal constant smallint := 8;
    id_ bytea;
    row_ record;
    refusal json;
    refused json[] := '{}';
begin
    for id_ in
        select r.id from unnest(p_ids) v (id)
        cross join lateral (select x.id, x.budget, x.state from run x where x.id = v.id offset 0) r
        where r.budget = r.id and r.state < terminal order by r.id
    loop
        refusal := null;
        for row_ in
            select b.* from budget b where b.run_id = id_ and b.source = b.run_id and b.open = 0 order by b.unit for update
        loop
            if row_.parent is not null then
                refusal := coalesce(refusal, fw_too_much(row_.parent, row_.unit, row_.size));
                perform fw_use(row_.parent, row_.unit, 0, row_.size);
            end if;
            update budget b
            set open = 1, base = b.used,
                amount = case when b.unit = '~depth' then b.amount else b.used + b.held + b.size end
            where b.run_id = id_ and b.unit = row_.unit;
        end loop;
        if refusal is not null then
            refused := refused || json_build_array(encode(id_, 'hex'), refusal);
        end if;
    end loop;
    if cardinality(refused) > 0 then
        perform fw_overdrawn(refused);
    end if;
end $$;

-- Running attempts spend, and reserve: see `Store.spend`. p_spends: [[run, attempt, id, {unit: amount}, whether it is
-- reserved, the reservation that it is of, whether that ends], ...]. Of each why not, or null, as JSON.
create function fw_spend(p_spends text) returns text language plpgsql
set search_path from current
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    running constant smallint := 1;
    one record;
    here record;
    item record;
    refusal json;
    answers json[] := '{}';
begin
    perform from (
        select distinct decode(v.j ->> 0, 'hex') as id from json_array_elements(p_spends::json) v (j) order by 1
    ) v
    cross join lateral (select true from run x where x.id = v.id for share) r;
    perform fw_lock_limits(
        array(
            select r.budget from json_array_elements(p_spends::json) v (j)
            cross join lateral (select x.budget from run x where x.id = decode(v.j ->> 0, 'hex') offset 0) r
        ),
        array(
            select a.unit from json_array_elements(p_spends::json) v (j) cross join json_object_keys(v.j -> 3) a (unit)
            union
            select t.unit from json_array_elements(p_spends::json) v (j)
            cross join lateral (
                select x.unit from spend x where x.run_id = decode(v.j ->> 0, 'hex') and x.held = 1 offset 0
            ) t
        ),
        '{}'
    );
    for one in
        select decode(v.j ->> 0, 'hex') as run, (v.j ->> 1)::integer as attempt, decode(v.j ->> 2, 'hex') as id,
               v.j -> 3 as amounts, (v.j ->> 4)::boolean as reserve, decode(v.j ->> 5, 'hex') as of,
               (v.j ->> 6)::boolean as release
        from json_array_elements(p_spends::json) with ordinality v (j, n) order by v.n
    loop
        select r.id, r.root_id, r.budget into here
        from run r where r.id = one.run and r.state = running and r.attempt = one.attempt;
        if not found then
            answers := answers || json_build_array('', 0, 0, 0, '');
            continue;
        end if;
        if exists (select from spend t where t.run_id = one.run and t.id = one.id) then
            answers := answers || 'null'::json;
            continue;
        end if;
        refusal := null;
        for item in
            select v.unit, v.amount, fw_source(here.budget, v.unit) as source, coalesce(t.amount, 0) as left_
            from (select p.key as unit, p.value::bigint as amount from json_each_text(one.amounts) p (key, value)) v
            left join lateral (
                select x.amount from spend x where x.run_id = one.run and x.id = one.of and x.unit = v.unit and x.held = 1
            ) t on true
            order by v.unit collate "C"
        loop
            if item.source is not null and item.amount > item.left_ then
                refusal := coalesce(refusal, fw_too_much(item.source, item.unit, item.amount - item.left_));
            end if;
        end loop;
        answers := answers || coalesce(refusal, 'null'::json);
        if refusal is not null then
            continue;
        end if;
        for item in
            select v.unit, v.amount, fw_source(here.budget, v.unit) as source, least(coalesce(t.amount, 0), v.amount) as taken
            from (select p.key as unit, p.value::bigint as amount from json_each_text(one.amounts) p (key, value)) v
            left join lateral (
                select x.amount from spend x where x.run_id = one.run and x.id = one.of and x.unit = v.unit and x.held = 1
            ) t on true
            order by v.unit collate "C"
        loop
            if one.reserve then
                continue when item.source is null;
                perform fw_use(item.source, item.unit, 0, item.amount);
            else
                if item.source is not null then
                    perform fw_use(item.source, item.unit, item.amount, -item.taken);
                end if;
                update spend t set amount = t.amount - item.taken
                where t.run_id = one.run and t.id = one.of and t.unit = item.unit and t.held = 1;
            end if;
            insert into spend (run_id, id, unit, root_id, source, attempt, amount, held)
            values (one.run, one.id, item.unit, here.root_id, item.source, one.attempt, item.amount, one.reserve::integer);
        end loop;
        if one.release then
            for item in
                delete from spend t where t.run_id = one.run and t.id = one.of and t.held = 1
                returning t.source, t.unit, t.amount
            loop
                perform fw_use(item.source, item.unit, 0, -item.amount);
            end loop;
        end if;
    end loop;
    return array_to_json(answers)::text;
end $$;
