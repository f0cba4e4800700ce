"""The demo: counting a folder as a tree of tasks. `tasks.py` is an example of how such a thing is written."""
