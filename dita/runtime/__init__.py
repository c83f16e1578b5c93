"""The runtime: the only place where I/O meets the core.

``node.Node`` makes one for every command; ``loop.Runtime`` journals inputs, applies them, and
does what outcomes ask for; ``order_query`` asks the venue for evidence; ``recovery`` is both start
and restart; other commands speak to a running one through ``server.control_socket``.
"""
