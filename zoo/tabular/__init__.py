"""Networks of table rows, and what makes their inputs of raw values."""
