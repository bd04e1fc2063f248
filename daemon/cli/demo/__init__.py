"""`linnet demo`: two releases, one good and one bad, played on real parts on this machine."""
