"""Colours, once."""

CANARY, BASELINE, GOOD, BAD, WEIGHT = "#d9480f", "#1971c2", "#2b8a3e", "#c92a2a", "#f2c078"
