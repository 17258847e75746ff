"""How to get at what lies elsewhere: object storage, the web, and a cache for copies."""
