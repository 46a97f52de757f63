"""One scenario a module: each measures one thing, and returns a `Section`."""
