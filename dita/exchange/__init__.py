"""A local exchange that speaks BingX's wire, for tests, rehearsals and demos.

``exchange`` is the account on its market, pure and told what time it is; ``prices`` moves the
market; ``wire`` is the REST and websocket face.  It ships with the product and knows no venue
adapter: what it says is right by the exchange's documents, not by our own reading of them.
"""
