"""Pure statistics: no I/O, no clock, no randomness. Everything here is a function of counts that were given to it."""
