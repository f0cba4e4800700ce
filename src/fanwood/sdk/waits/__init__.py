"""What a run waits for that is no child with code: sleeps, events, promises, messages, recorded steps."""
