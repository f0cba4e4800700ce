"""Tasks and workflows, their context, and what a decorator makes of a function."""
