"""The custom resources a user writes and reads: types, schema generation, validation. Pure: no I/O, no clock."""
