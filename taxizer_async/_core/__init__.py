"""Values and rules, without network or store."""
