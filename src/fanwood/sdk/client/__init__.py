"""`fanwood.runs`: what can be seen of runs and done to them, from anywhere."""
