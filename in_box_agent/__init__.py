"""The program inside the box: init, and the services a stream may ask for."""
