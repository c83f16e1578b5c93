"""BingX USDT perpetuals: REST and streams behind the venue protocol; ``venue`` puts it together."""
