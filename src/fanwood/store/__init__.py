"""The only place that knows SQL: the store's interface, and the backends behind it."""
