"""Threshold templates: conditions on measured values, and how single measurements add up to a verdict. Pure: no I/O, no clock."""
