"""The observer's page: what a running system shows in a browser, and the server that shows it."""
