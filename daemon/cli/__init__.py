"""The `linnet` command and `kubectl linnet`."""
