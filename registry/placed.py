"""The side door for the pipe of a placed child, which uses the registries of its parent."""

from __future__ import annotations

from .remote import RemoteHoldings
from .shared_table import SharedTable
from .table import Holdings, Table, begun, find, tables

__all__ = ["Holdings", "RemoteHoldings", "SharedTable", "Table", "begun", "find", "tables"]
