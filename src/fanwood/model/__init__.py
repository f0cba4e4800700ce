"""What the system is about, as plain data: states, runs, and the commands and answers of the store."""
