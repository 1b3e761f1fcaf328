"""What processes, the runtime and users say to each other: errors, exit reasons, messages, child specs."""
