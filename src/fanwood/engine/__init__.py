"""The engine: one per process, on a thread of its own; the only thing that talks to the store."""
