-- How far hooks were told of failures (telling.py).

-- name: forget_turns
-- Those that hold anything but digits and blanks.
delete from setting where name >= 'told:' and name < 'told;' and value glob '*[^0-9 ]*';
