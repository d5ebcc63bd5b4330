"""The SQLSTATEs that the proxy puts into a message, or looks for (appendix A of the manual)."""

from __future__ import annotations

UNABLE_TO_CONNECT = "08001"
CONNECTION_FAILURE = "08006"
PROTOCOL_VIOLATION = "08P01"
FEATURE_NOT_SUPPORTED = "0A000"
DUPLICATE_OBJECT = "42710"
INVALID_AUTHORIZATION = "28000"
ADMIN_SHUTDOWN = "57P01"
