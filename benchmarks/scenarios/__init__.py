"""A module per scenario; each measures one thing and returns a `Section`."""
