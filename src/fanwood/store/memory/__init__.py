"""Memory: the backend that keeps nothing, in plain Python. What a store must do, as a specification that runs."""
