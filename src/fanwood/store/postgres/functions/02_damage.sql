-- Rows that can't be read.

-- Of what can't be read: see UNREADABLE in store/failures.py.
create function fw_unreadable_error() returns text language sql immutable
as $$
    select '{"kind":"failed","type":"StoreError","message":"its row in the database could not be read: a column holds something'
        || ' that it should not"}'
$$;

-- Something of these runs could not be read: which of them that is, as it is damaged. Beside p_known; if there is no other,
-- it was due to something else, and raises as it did.
create function fw_damaged(p_ids bytea[], p_known bytea[], p_error text) returns bytea[] language plpgsql
as $$
#variable_conflict error
declare
    here bytea;
    found_ bytea[] := p_known;
begin
    foreach here in array p_ids loop
        begin
            perform length(concat(r.state, r.output, r.error, r.input)) from run r
            where r.id = here and here <> all (p_known);
        exception when data_corrupted or index_corrupted then
            found_ := found_ || here;
        end;
    end loop;
    if cardinality(found_) = cardinality(p_known) then
        raise exception '%', p_error using errcode = 'data_corrupted';
    end if;
    return found_;
end $$;
