"""What is declared, and what a caller says: tasks as their executor knows them, options, items, identities."""
