"""Figures: what the daemon costs and how fast it decides. Run with `make bench`."""
