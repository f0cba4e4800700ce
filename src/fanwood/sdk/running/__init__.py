"""One attempt of a run in the process that executes it: whose code runs, what it waits for, when it is unloaded."""
