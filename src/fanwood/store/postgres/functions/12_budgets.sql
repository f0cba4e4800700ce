-- What trees may use.

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
            select decode(x.value ->> 0, 'hex') as id, (x.value ->> 1)::bigint as runs
            from json_array_elements(p_blocks::json) x (value)
        ) v
        cross join lateral (select c.id from run c where c.id = v.id offset 0) r
        order by r.id
        on conflict (root_id) do update set runs = tree.runs + excluded.runs
        returning root_id, runs
    )
    select json_agg(json_build_array(encode(t.root_id, 'hex'), t.runs)) into answer from taken t;
    return coalesce(answer, '[]');
end $$;
