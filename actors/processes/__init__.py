"""A process and what ties it to others: its Pid, names, links, monitors, mailbox, and what dies with it."""
