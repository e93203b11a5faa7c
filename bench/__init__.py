"""Throughput, processor time and memory of the whole service, beside other MTAs run the same way.

``python -m bench.run`` is the whole of it: ``source`` submits, the MTA under test takes, signs, queues and
delivers, ``resolver`` answers its look-ups, ``sink`` receives and counts. ``contenders`` starts the MTAs,
``processes`` reads what they used.
"""
