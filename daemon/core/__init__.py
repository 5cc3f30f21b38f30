"""PURE decisions: the transition tables, back-off, the queue, what to unload, what to save. `now` is an argument."""
