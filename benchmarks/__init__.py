"""How fast it is, and how near to what the database can do at all: `python -m benchmarks`."""
