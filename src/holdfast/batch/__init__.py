"""Many images from one file of prompts, as values: what is asked, how files are called, what was done, what is left.

Pure: no I/O, clock or randomness. `prompts` reads the file, `names` names the outputs, `journal` spells what happened
as lines of text and reads them back, `plan` says what is left to do. `cli/batch.py` carries it out.

What is paid is paid once because of one rule: a line's idempotency key is written down, durably, before the line is
sent. Whoever finds the key there afterwards asks with it again, and a gateway that remembers keys gives what it has.
"""
