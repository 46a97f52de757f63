"""The life of a token in a process: no HTTP in here."""
