"""The Taxizer API on loopback."""
