"""Drives generations: submit, attempt, settle, wait, recover."""
