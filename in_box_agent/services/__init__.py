"""The services a stream may ask for, one module each."""
