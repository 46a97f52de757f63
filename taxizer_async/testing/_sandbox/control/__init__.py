"""How programs and the page drive a sandbox over HTTP, below `/_sandbox/`."""
