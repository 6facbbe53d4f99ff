"""Rows, blobs and spool behind plain functions."""
