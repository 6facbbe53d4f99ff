"""Seeded upstreams and a TCP path that misbehave; for tests, the lab and the demo.

`server.Simulator` speaks Gemini's and OpenAI's dialect on a real socket and keeps a record of what it charged;
`path.Path` stands between a caller and any server. What a request meets is decided by pure modules, in this order:
`asked` (what was asked for), `faults` and `scenarios` (what is wished), `plan` (what will happen), and the dialects
`openai` and `gemini` (what is said). `connection` and `sending` carry it out. `scene` and `film` draw, with Pillow.
"""
