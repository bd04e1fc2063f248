"""The imperative shell: read from caches, decide once, write the intent to status, act, tell."""
