"""`/admin/v1`: what the console is made of, and everybody's programs may use as well.

`framework.py` has what all of it shares: who may ask, how bodies are read, errors told, changes noted. A page is a
class with `served`, its endpoints are `Spec`s; `table.py` lists them for the OpenAPI document.
"""
