"""How requests are split: one module a router, behind one Protocol, in one registry."""
