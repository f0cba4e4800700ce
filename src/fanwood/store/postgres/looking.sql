-- What people ask, where a server is asked in another way.

-- name: previews
select id, left(input, :length) from run where id = any(:ids);

-- name: server
-- For `fanwood doctor`.
select current_setting('server_version'), current_setting('server_version_num')::integer, current_setting('fsync'),
       current_setting('synchronous_commit'), current_setting('full_page_writes'), pg_is_in_recovery(),
       (select coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint from pg_class c
        where c.relnamespace = current_schema()::regnamespace and c.relkind = 'r'),
       (select max(number) from schema_migration);
