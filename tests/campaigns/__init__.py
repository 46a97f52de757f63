"""Programs that nox runs for long, each with its own short tests."""
