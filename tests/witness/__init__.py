"""Readers of other people's records. They import nothing of Linnet's and nothing of the testbed's: a witness must not know the accused."""
