"""The two calls to the token endpoints, and what their answers mean. Knows `_core` only."""
