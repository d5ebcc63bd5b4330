"""The durable engine: `core` decides, everything else here does I/O for it."""
