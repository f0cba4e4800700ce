"""From calls to runs: spawning, bulks, streams, groups, references, and taking results as they come."""
