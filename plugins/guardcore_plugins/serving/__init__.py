"""A reward behind HTTP: what client and server say to each other, and both of them."""
