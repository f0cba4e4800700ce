"""The dashboard's server: HTTP beside the command line. It imports no user's code, and asks nobody but the store."""
