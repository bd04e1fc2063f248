"""A random walk of releases against the daemon as it is shipped, with everybody in its way. `make walk`."""
