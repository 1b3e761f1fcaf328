"""Supervisors: the decisions, the processes that carry them out, and the faces that users call."""
