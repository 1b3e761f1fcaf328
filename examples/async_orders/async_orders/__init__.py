"""The orders service as an asyncio program: consumers, one pool and a web application on one event loop.

Read `tree.yaml` beside this package first: it names every module here.
"""
