"""The edge: REST, the chat socket and the page. The only package that speaks FastAPI."""
