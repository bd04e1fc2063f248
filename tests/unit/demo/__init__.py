"""Tests of the demo that need neither a gateway nor a minute."""
