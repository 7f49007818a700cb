"""A trained model as a small HTTP service.

  command.py   prorec serve       app.py    the answers        schema.py   what requests and answers look like
  gate.py      what is let in     batching.py   requests that wait together are ranked together
"""
