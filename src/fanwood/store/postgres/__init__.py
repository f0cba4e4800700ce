"""PostgreSQL: the backend for many machines."""
