"""BingX's REST side: requests, answers, limits, codes."""
