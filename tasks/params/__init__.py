"""The parameters: a class for each block of params.yaml, in a file of its own.

`read` gives one block to a step; `tasks.params.document` checks the whole file, also as `python -m tasks.params`.
"""

from tasks.params.block import Block, check, known_instead, read
from tasks.params.reader import PARAMS_FILE, ParameterError, parse, parse_text

__all__ = ["PARAMS_FILE", "Block", "ParameterError", "check", "known_instead", "parse", "parse_text", "read"]
