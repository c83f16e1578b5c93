"""The symbols that the local exchange lists, with rules like those of the real one.

Data only.  Precisions and minimums are of the order of the real ones and may differ from them; a
client has to read them, which is the point.
"""

from __future__ import annotations

from typing import Final

from dita.exchange.model.records import Contract
from dita.units import parse_price, parse_quantity

# symbol, contract id, decimals of quantity and price, minimum quantity, leverage, start price
_TABLE: Final = """
BTC-USDT    100  4 1 0.0001 125 60000
ETH-USDT    101  2 2 0.01   125 2500
SOL-USDT    102  2 3 0.01   100 150
XRP-USDT    103  1 4 1      100 0.55
TRX-USDT    104  0 5 1       75 0.13
LTC-USDT    105  2 2 0.01    75 85
LINK-USDT   106  2 3 0.1     75 14
FET-USDT    107  0 4 1       75 0.5
ADA-USDT    108  0 4 1       75 0.4
DOGE-USDT   109  0 5 1      100 0.12
BCH-USDT    110  2 2 0.01    75 400
WLD-USDT    111  1 4 0.1     75 3
"""


def _contract(line: str) -> Contract:
    symbol, number, quantity_digits, price_digits, least, leverage, price = line.split()
    return Contract(
        symbol=symbol,
        contract_id=number,
        asset=symbol.partition("-")[0],
        quantity_digits=int(quantity_digits),
        price_digits=int(price_digits),
        min_quantity_e8=parse_quantity(least),
        leverage_max=int(leverage),
        start_price_e10=parse_price(price),
    )


CONTRACTS: Final[dict[str, Contract]] = {
    contract.symbol: contract
    for contract in (_contract(line) for line in _TABLE.strip().splitlines())
}
