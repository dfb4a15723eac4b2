"""Kills at random moments: `make kills`, and a short version in `tests/test_kills.py`."""
