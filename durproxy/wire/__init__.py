"""The frontend/backend protocol, versions 3.0 and 3.2, without any I/O: bytes in, values out."""
