"""Exploration: the compiled kernel walked through everything that can happen in small worlds.

A world is an exchange, a runtime and an operator, each as small as it can be and still honest; a
search goes through every order of their moves to the fixpoint.  It knows the kernel by its inputs,
effects and views alone, and judges it by the exchange's own book.
"""
