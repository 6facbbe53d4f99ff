"""Seeded upstreams and a TCP path that misbehave; for tests, the lab and the demo.

`server.Simulator` speaks Gemini's and OpenAI's dialect and fal's queue on a real socket, and keeps a record of its
charges; `path.Path` stands between a caller and any server. What a request meets is decided by pure modules, in this
order: `asked` (what was asked for), `faults` and `scenarios` (what is wished), `plan` (what will happen), and the
dialects `openai`, `gemini` and `fal` with its `queue` (what is said). `connection` and `sending` carry it out. `scene`
and `film` draw, with Pillow.
"""
