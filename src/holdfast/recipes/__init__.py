"""Programs that call for an image, one for each client that people use, with the numbers of their size filled in.

Pure but for reading its own templates: no clock, randomness, socket or environment.
"""
