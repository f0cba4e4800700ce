"""SQLite: the embedded backend."""
