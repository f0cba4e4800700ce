-- Where a claim begins: with the oldest, with the trees whose turn it is, and past those that are closed as a whole.

-- Some of the oldest of one task's ready runs, so that nothing starves: of each priority, from the bottom up, where the
-- starving are, and of each root there, the oldest first, the oldest run of its lowest depth. A root that was made after
-- the best run so far holds nothing older. Bounded: no more than so many steps.
create function fw_oldest_of(p_task text) returns bytea[] language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    found_ bytea[] := '{}';
    best bytea;
    prio integer;
    root bytea;
    low integer;
    id_ bytea;
    steps integer := 0;
begin
    select r.priority into prio from run r where r.task = p_task and r.state = 0
    order by r.task desc, r.priority, r.root_id desc, r.depth, r.id desc limit 1;
    while prio is not null and steps < 32 loop
        root := '\x'; best := null;
        loop
            select r.root_id into root from run r
            where r.task = p_task and r.state = 0 and r.priority = prio and r.root_id > root
            order by r.task, r.priority desc, r.root_id, r.depth desc, r.id limit 1;
            exit when root is null or root > best or steps >= 32;
            steps := steps + 1;
            select r.depth into low from run r
            where r.task = p_task and r.state = 0 and r.priority = prio and r.root_id = root
            order by r.task desc, r.priority, r.root_id desc, r.depth, r.id desc limit 1;
            select r.id into id_ from run r
            where r.task = p_task and r.state = 0 and r.priority = prio and r.root_id = root and r.depth between low and low
              and r.deaths < 2
            order by r.task, r.priority desc, r.root_id, r.depth desc, r.id limit 1;
            if id_ is not null then
                found_ := found_ || id_;
                best := least(best, id_);
            end if;
        end loop;
        select r.priority into prio from run r where r.task = p_task and r.state = 0 and r.priority > prio
        order by r.task desc, r.priority, r.root_id desc, r.depth, r.id desc limit 1;
    end loop;
    return found_;
end $$;

-- The roots of one priority whose turn it is, from the one after that had the last, once round: p_most that are not queued
-- themselves; and of each task the first that is, which stands for those after it (of_: that task). Whether these are all.
-- Each task is walked by itself: what is behind very many queued roots of one is not hidden by them in the others.
create function fw_walk(
    p_tasks text[], p_priority integer, p_last bytea, p_most integer, p_programs integer[],
    out roots bytea[], out of_ text[], out whole boolean
) language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    queued constant smallint := 0;
    again boolean := p_last = '\x';
    walked text[] := p_tasks;  -- whose next root is to be found, after this one ...
    at bytea := p_last;
    tasks text[] := '{}';  -- ... and those of which it is known
    heads bytea[] := '{}';
    standing text[] := '{}';
    root bytea;
    here record;
    begun integer := 0;
    n integer;
begin
    roots := '{}'; of_ := '{}'; whole := true;
    loop
        for here in
            select t.task, h.root_id, coalesce(
                (select x.state = queued and x.task = t.task from run x where x.id = h.root_id), false
            ) as itself
            from unnest(walked) t (task)
            cross join lateral (
                select r.root_id from run r
                where r.task = t.task and r.state = 0 and r.priority = p_priority and r.root_id > at and (
                    p_programs = '{}'
                    or (select x.asked = 0 or x.asked = any (p_programs) from run x where x.id = r.root_id)
                )
                order by r.task, r.priority desc, r.root_id, r.depth desc, r.id limit 1
            ) h
        loop
            if again and p_last <> '\x' and here.root_id > p_last then
                continue;
            elsif not here.itself then
                tasks := tasks || here.task; heads := heads || here.root_id;
            elsif here.task = any (standing) then
                whole := false;
            else
                standing := standing || here.task;
                roots := roots || here.root_id; of_ := of_ || here.task;
            end if;
        end loop;
        root := null; walked := '{}';
        for n in 1 .. cardinality(tasks) loop
            if root is null or heads[n] < root then
                root := heads[n]; walked := array[tasks[n]];
            elsif heads[n] = root then
                walked := walked || tasks[n];
            end if;
        end loop;
        if root is null then
            exit when again;
            again := true; walked := p_tasks; at := '\x';
            continue;
        end if;
        select coalesce(array_agg(v.task), '{}'), coalesce(array_agg(v.head), '{}') into tasks, heads
        from unnest(tasks, heads) v (task, head) where v.head <> root;
        at := root;
        if begun < p_most then
            begun := begun + 1;
            roots := roots || root; of_ := of_ || null::text;
        else
            whole := false; walked := '{}';
        end if;
    end loop;
    if cardinality(roots) > 1 then
        select array_agg(v.root order by v.root <= p_last, v.root, v.task is null),
               array_agg(v.task order by v.root <= p_last, v.root, v.task is null)
        into roots, of_ from unnest(roots, of_) v (root, task);
    end if;
end $$;

-- Whose turn it is of several roots, and what they have, to be claimed before anything else: as store/turns.py has it.
-- Nothing, if there is one root only. By the index alone, and no more than so many roots.
create function fw_turns(p_tasks text[], p_limit integer, p_turns text, p_programs integer[]) returns bytea[]
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    beyond constant bytea := decode(repeat('ff', 17), 'hex');  -- every root
    tasks text[];
    found_ bytea[] := '{}';
    theirs bytea[];
    roots bytea[];
    of_ text[];
    most integer;
    room integer;
    prio integer;
    last_ bytea;
    whole boolean;
    lower_ boolean;
    full_ boolean;
begin
    select array_agg(t.task), max(h.priority), min(l.priority) < max(h.priority),
           min(l.priority) = max(h.priority) and count(distinct h.root_id) = 1 and bool_and(h.root_id = l.root_id)
    into tasks, prio, lower_, whole
    from unnest(p_tasks) t (task)
    cross join lateral (
        select r.priority, r.root_id from run r
        where r.task = t.task and r.state = 0
          and (p_programs = '{}' or (select x.asked = 0 or x.asked = any (p_programs) from run x where x.id = r.root_id))
        order by r.task, r.priority desc, r.root_id, r.depth desc, r.id limit 1
    ) h
    cross join lateral (
        select r.priority, r.root_id from run r
        where r.task = t.task and r.state = 0
          and (p_programs = '{}' or (select x.asked = 0 or x.asked = any (p_programs) from run x where x.id = r.root_id))
        order by r.task desc, r.priority, r.root_id desc, r.depth, r.id desc limit 1
    ) l;
    if prio is null or whole then
        return found_;
    end if;
    most := greatest(8 / cardinality(tasks), 4);
    while prio is not null loop
        room := p_limit - cardinality(found_);
        last_ := coalesce(decode(p_turns::json ->> prio::text, 'hex'), '\x');
        select w.roots, w.of_, w.whole into roots, of_, whole from fw_walk(tasks, prio, last_, most, p_programs) w;
        whole := whole and cardinality(roots) <= room;
        roots := roots[1:room]; of_ := of_[1:room];
        exit when cardinality(roots) = 1 and whole and not lower_;  -- they are the best
        select array_agg(v.id order by v.rank, v.n), coalesce(bool_or(v.rank = v.share), false) into theirs, full_
        from (
            select h.id, h.rank, o.n, s.share
            from unnest(roots, of_) with ordinality o (root, task, n)
            cross join (select (room + cardinality(roots) - 1) / cardinality(roots) as share) s
            cross join lateral (
                select q.id, row_number() over (order by q.root_id, q.depth desc, q.id) as rank
                from unnest(case when o.task is null then tasks else array[o.task] end) t (task)
                cross join lateral (
                    select r.root_id, r.depth, r.id from run r
                    where r.task = t.task and r.state = 0 and r.priority = prio
                      and r.root_id between o.root and case when o.task is null then o.root else beyond end and (
                        p_programs = '{}'
                        or (select x.asked = 0 or x.asked = any (p_programs) from run x where x.id = r.root_id)
                    )
                    order by r.task, r.priority desc, r.root_id, r.depth desc, r.id limit s.share
                ) q
                order by q.root_id, q.depth desc, q.id limit s.share
            ) h
        ) v;
        theirs := theirs[1:room];
        if cardinality(array_remove(of_, null)) > 0 then  -- whose range may hold roots that have a turn of their own
            theirs := array(select v.id from unnest(theirs) with ordinality v (id, n) group by v.id order by min(v.n));
        end if;
        found_ := found_ || theirs;
        most := most - cardinality(roots);
        exit when not whole or full_ or most <= 0 or cardinality(found_) >= p_limit;
        select max(q.priority) into prio
        from unnest(tasks) t (task)
        cross join lateral (
            select r.priority from run r
            where r.task = t.task and r.state = 0 and r.priority < prio and (
                p_programs = '{}'
                or (select x.asked = 0 or x.asked = any (p_programs) from run x where x.id = r.root_id)
            )
            order by r.task, r.priority desc, r.root_id, r.depth desc, r.id limit 1
        ) q;
    end loop;
    return found_;
end $$;

-- The best of these tasks, but of trees that are closed as a whole nothing: the sweep that ends those is quicker than claims
-- that meet them, lock them and end a few. By the index alone, between one such tree and the next; and of the priorities of
-- their roots, which most of a tree has, it is not asked which comes next: what has ended of them is still in the index.
create function fw_open(p_tasks text[], p_limit integer, p_closed bytea[]) returns bytea[] language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict error
declare
    bounds constant bytea[] := array(select c.root from unnest(p_closed) c (root) order by c.root)
        || decode(repeat('ff', 17), 'hex');  -- beyond every root
    known constant integer[] := array(
        select distinct r.priority from unnest(p_closed) c (root)
        cross join lateral (select x.priority from run x where x.id = c.root) r
        order by r.priority desc
    );
    tasks text[];
    places jsonb := '[]';
    t text;
    prio integer;
    higher bigint;
    n integer;
    after bytea;
    before bytea;
    room integer;
    part jsonb;
begin
    tasks := array(  -- which have any: beside these priorities, or of them between the trees
        select t.task from unnest(p_tasks) with ordinality t (task, n)
        where exists (
            select from unnest(known || null::integer, null::integer || known) v (low, high)
            where (
                select true from run r
                where r.task = t.task and r.state = 0 and r.priority > coalesce(v.low, -(1::bigint << 40))
                  and r.priority < coalesce(v.high, 1::bigint << 40)
                order by r.task, r.priority desc, r.root_id, r.depth desc, r.id limit 1
            )
        ) or exists (
            select from unnest(known) k (priority)
            cross join unnest('\x'::bytea || bounds, bounds || null::bytea) b (after, before)
            where b.before is not null and (
                select true from run r
                where r.task = t.task and r.state = 0 and r.priority = k.priority
                  and r.root_id > b.after and r.root_id < b.before
                order by r.task, r.priority desc, r.root_id, r.depth desc, r.id limit 1
            )
        )
        order by t.n
    );
    foreach t in array tasks loop
        room := p_limit;
        higher := 1::bigint << 40;
        n := 1;
        while room > 0 loop
            select r.priority into prio from run r
            where r.task = t and r.state = 0 and r.priority < higher and r.priority > coalesce(known[n], -(1::bigint << 40))
            order by r.task, r.priority desc, r.root_id, r.depth desc, r.id limit 1;
            if not found then
                prio := known[n]; n := n + 1;
            end if;
            exit when prio is null;
            after := '\x';
            foreach before in array bounds loop
                select jsonb_agg(jsonb_build_array(-q.priority, encode(q.root_id, 'hex'), -q.depth, encode(q.id, 'hex'))) into part
                from (
                    select r.priority, r.root_id, r.depth, r.id from run r
                    where r.task = t and r.state = 0 and r.priority = prio and r.root_id > after and r.root_id < before
                    order by r.task, r.priority desc, r.root_id, r.depth desc, r.id limit room
                ) q;
                places := places || coalesce(part, '[]');
                room := room - coalesce(jsonb_array_length(part), 0);
                exit when room = 0;
                after := before;
            end loop;
            higher := prio;
        end loop;
    end loop;
    return array(
        select decode(p.place ->> 3, 'hex') from jsonb_array_elements(places) p (place)
        order by (p.place ->> 0)::integer, p.place ->> 1, (p.place ->> 2)::integer, p.place ->> 3 limit p_limit
    );
end $$;
