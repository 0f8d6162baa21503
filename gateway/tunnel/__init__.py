"""The websocket tunnel: the request's head, who may, the box, and bytes both ways."""
