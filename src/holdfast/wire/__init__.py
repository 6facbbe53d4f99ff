"""Bytes to values and back, for either side of the connection: JSON with pictures in it, SSE, both dialects' shapes.

Pure: no I/O, clock or randomness. A body of any size is read and written in bounded memory: the pictures leave a
document as decoded bytes while it is read (`scan`), and enter it as base64 while it is written (`template`).
"""
