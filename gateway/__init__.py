"""The one door: HTTP API and websocket tunnels. Keeps no state."""
