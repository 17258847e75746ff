"""Images: which there are (`catalog`), where their bytes are (`fetching`), what is in them (`decoding`)."""
