"""Seeded upstreams and a TCP path that misbehaves; for tests, the lab and the demo."""
