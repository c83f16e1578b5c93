"""The whole system in one process and in virtual time: one seed, one run, one hash.

It composes what a node lives in (clock, disk, network, exchange) from parts that a seed drives.
Tests and `make simulate` are its callers; nothing of a running serve comes here.
"""
