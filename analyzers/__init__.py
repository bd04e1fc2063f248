"""The judge: from raw counters to a verdict. Imports nothing of the daemon."""
