"""Programs that nox runs for long, each with short tests of its own."""
