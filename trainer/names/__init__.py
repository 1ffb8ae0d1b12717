"""Names from other projects, and their meanings here."""
