"""What a run records of itself, and what code that is run again finds of it."""
