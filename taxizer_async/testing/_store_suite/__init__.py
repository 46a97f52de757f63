"""What every token store has to do, as checks."""
