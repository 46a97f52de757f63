"""What the package is used with."""
