"""Review of labels by a person: what is shown, the page, and the server that saves decisions."""
