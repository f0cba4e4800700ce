"""Executing runs: slots, loops, threads, and the worker that holds them together."""
