"""Parameters: a file and a class for each block of params.yaml.

A step loads its blocks with `load_block`; `document.load_params` checks the whole file, as `python -m tasks.params`.
"""

from tasks.params.block import Block, load_block
from tasks.params.reader import PARAMS_FILE, ParameterError, parse, parse_text

__all__ = ["PARAMS_FILE", "Block", "ParameterError", "load_block", "parse", "parse_text"]
