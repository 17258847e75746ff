"""Which images a collection has, in which order and under which ids: folders, URLs, tables and tar shards."""
