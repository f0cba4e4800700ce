"""Fanwood for the models of agents: a server of the Model Context Protocol, over stdin and stdout."""
