"""Throughput, CPU time and memory of the whole service, compared with other MTAs that run in the same way.

``python -m bench.run``: ``source`` submits; the MTA under test accepts, signs, queues and delivers; ``resolver``
answers its DNS queries; ``sink`` receives and counts. ``contenders`` starts the MTAs, ``processes`` reads what they
used.
"""
