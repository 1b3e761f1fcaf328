"""The service that eats a topic of order events and serves the orders over HTTP.

Read `tree.yaml` beside this package first: it names every module here.
"""
