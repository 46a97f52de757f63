"""Values and rules, and the few waits that they need: no network, no store."""
