"""The command line: tables and colour for people, plain lines in a pipe, JSON for programs."""
