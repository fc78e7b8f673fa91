"""
What a backend, and a project that uses this library, can test itself with.
"""

from __future__ import annotations
