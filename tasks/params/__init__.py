"""Parameters: a file and a class for each block of params.yaml."""

from tasks.params.block import Block, load_block
from tasks.params.reader import PARAMS_FILE, ParameterError, parse, parse_text

__all__ = ["PARAMS_FILE", "Block", "ParameterError", "load_block", "parse", "parse_text"]
