"""What a user sees, on every stack and event loop."""
