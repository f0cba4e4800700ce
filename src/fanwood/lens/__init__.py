"""How a tree of any size is read: what the server, `fanwood tree`, `fanwood top` and `--watch` show of it."""
