"""What looks at all processes at once, or ends them."""
