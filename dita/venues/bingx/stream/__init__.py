"""BingX's websocket side: sockets, frames, and what they say."""
