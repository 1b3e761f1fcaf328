"""Children in OS processes of their own, each with a process here that stands for it."""
