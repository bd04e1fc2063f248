"""The decision core: from what is seen to what is done, without I/O and without a clock."""
