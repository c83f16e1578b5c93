"""BingX's wire protocol over the local exchange's core: bytes in, bytes out.

Signing, envelopes, limits, listen keys, sockets and faults live here, and nothing of what an order
or a wallet does: that is asked of the core next door.  The only modules that know aiohttp.
"""
