"""The HTTP API: handlers and OpenAPI document, both made from `devbox.edge.routes`."""
