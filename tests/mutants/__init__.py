"""Deliberate faults in shipped code, each with the test that must notice it: `python -m tests.mutants.run`."""
