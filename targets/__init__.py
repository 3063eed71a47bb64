"""One TOML of facts for each target and board, and the schema that checks them."""
