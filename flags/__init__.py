"""Feature flags: providers, cohorts and the order of changes. Imports nothing of the daemon."""
