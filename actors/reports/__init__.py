"""What is told to those who watch: crash reports, events, and processes whose code outlives them."""
