"""The rules of a `TokenStore`, as checks."""
