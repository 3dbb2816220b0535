"""Review of labels by a person: cards, page and server."""
