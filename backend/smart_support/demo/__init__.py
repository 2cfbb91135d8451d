"""The demo company: a small shop with an HTTP API of its own, in a process of its own.

It stands for the outside world and therefore imports nothing of the product. Start it with
`python -m smart_support.demo --data DIR`.
"""
